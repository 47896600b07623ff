// What a page owes to every reader, as far as a script can see it; {wide: 0, ...} is in order. Text in pictures is not seen.
() => {
  const seen = (e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const levels = [...document.querySelectorAll("h1,h2,h3,h4,h5,h6")].filter(seen).map((h) => Number(h.tagName[1]));
  const channels = (colour) => {
    const numbers = colour.match(/[\d.]+/g).map(Number);
    const scale = colour.startsWith("color(") ? 255 : 1;
    return [...numbers.slice(0, 3).map((v) => v * scale), numbers[3] ?? 1];
  };
  const over = (a, b) => [0, 1, 2].map((i) => a[3] * a[i] + (1 - a[3]) * b[i]).concat(1);
  const luminance = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (e) => {
    const layers = [];
    for (; e && (layers.at(-1)?.[3] ?? 0) < 1; e = e.parentElement) layers.push(channels(getComputedStyle(e).backgroundColor));
    return layers.reduceRight((below, layer) => over(layer, below), [255, 255, 255, 1]);
  };
  const faint = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement;
    const words = texts.currentNode.textContent.trim();
    if (!words || e.closest("script, style") || !seen(e)) continue;
    const style = getComputedStyle(e);
    const below = ground(e);
    const [bright, dark] = [luminance(over(channels(style.color), below)), luminance(below)].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700); // WCAG 2: 18 points, or 14 in bold
    if ((bright + 0.05) / (dark + 0.05) < (large ? 3 : 4.5)) faint.add(`${words.slice(0, 30)}: ${style.color} on ${below}`);
  }
  return {
    wide: document.documentElement.scrollWidth - innerWidth,
    silent: [...document.images].filter((image) => !image.alt.trim()).length,
    titles: levels.filter((level) => level === 1).length,
    jumps: levels.filter((level, i) => i && level > levels[i - 1] + 1).length,
    lang: document.documentElement.lang,
    faint: [...faint],
  };
}
