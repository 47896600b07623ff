// The half of page.py that lives inside the page. Loaded before JupyterLab, as `window.harness`.
window.harness = (() => {
  const panel = () => window.jupyterapp.shell.currentWidget; // the NotebookPanel
  const session = () => panel().sessionContext;
  const kernel = () => session().session?.kernel;
  const codeCells = () => panel().content.widgets.filter(cell => cell.model.type === 'code');
  const frame = () => new Promise(resolve => requestAnimationFrame(resolve));
  const all = selector => [...document.querySelectorAll(selector)];

  function ready() {
    const open = window.jupyterapp?.shell?.currentWidget;
    return Boolean(open?.context?.isReady && open.sessionContext?.isReady && kernel()?.status === 'idle');
  }

  // ---- running

  let run = null;

  function startRunAll() {
    const mine = (run = { started: performance.now(), ended: null, firstPicture: null, ok: null });
    const end = ok => Object.assign(mine, { ok, ended: performance.now() });
    window.jupyterapp.commands.execute('notebook:run-all-cells').then(end, () => end(false));
  }

  // Pictures tell when they are there to be seen; the event does not bubble, but it can be caught on its way down.
  document.addEventListener('load', event => {
    if (run && run.firstPicture === null && event.target.matches?.('.jp-OutputArea img')) {
      const mine = run;
      mine.firstPicture = Infinity; // only one callback
      requestAnimationFrame(() => (mine.firstPicture = performance.now()));
    }
  }, true);

  function runState() {
    const since = time => (time === null || time === Infinity ? null : (time - run.started) / 1000);
    return run && { ok: run.ok, seconds: since(run.ended), firstPicture: since(run.firstPicture) };
  }

  // Ended, and every widget that a cell shows has been built (one whose cell was interrupted may never be).
  function runEnded() {
    const views = all('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.widget-view+json"]');
    const built = views.every(v => v.querySelector('.jupyter-widgets')) || cells().some(cell => cell.errors.length);
    return Boolean(run?.ended) && kernel()?.status === 'idle' && built;
  }

  function cells() {
    return codeCells().map((cell, index) => {
      const outputs = cell.model.outputs.toJSON();
      const errors = outputs.filter(o => o.output_type === 'error').map(o => `${o.ename}: ${o.evalue}`);
      const red = [...cell.node.querySelectorAll('[data-mime-type$="stderr"]')].map(node => node.textContent);
      const isTraceback = text => text.includes('Traceback (most recent call last)');
      const time = cell.model.getMetadata('execution') ?? {};
      const seconds = (Date.parse(time['shell.execute_reply']) - Date.parse(time['iopub.execute_input'])) / 1000;
      return {
        index,
        source: cell.model.sharedModel.getSource(),
        count: cell.model.executionCount,
        running: cell.promptNode?.textContent.includes('*') ?? false,
        errors: errors.length ? errors : red.filter(isTraceback), // the second: in an Output widget
        stderr: red.filter(text => !isTraceback(text)),
        seconds: Number.isFinite(seconds) ? seconds : null,
      };
    });
  }

  async function evaluate(expression, setup) {
    const future = kernel().requestExecute({
      code: setup, silent: false, store_history: false, user_expressions: { value: expression },
    });
    const reply = (await future.done).content;
    const answer = reply.status === 'ok' ? reply.user_expressions.value : reply;
    if (answer.status !== 'ok') throw new Error(`${answer.ename}: ${answer.evalue}`);
    return answer.data['text/plain'];
  }

  // ---- conditions: each remembers how things are now, and answers later whether it has come true

  const shown = image => image.complete && image.naturalWidth > 0;

  const conditions = {
    pictures({ selector }) {
      const before = new Map(all(selector).map(image => [image, image.src]));
      if (!before.size) throw new Error(`no picture at ${selector}`);
      return () => all(selector).every(image => image.src !== before.get(image) && shown(image));
    },
    text({ selector, pattern }) {
      const read = () => all(selector).map(node => node.innerText).join('\n');
      const before = read();
      const wanted = pattern === null ? null : new RegExp(pattern);
      return () => (wanted ? wanted.test(read()) : read() !== before);
    },
    visible({ selector, wanted }) {
      return () => all(selector).some(node => node.checkVisibility({ visibilityProperty: true })) === wanted;
    },
    js({ source }) {
      return (0, eval)(`(${source})`);
    },
  };

  // ---- timing: from the user's event, as the browser stamped it, to the frame in which a condition holds

  const USER_EVENTS = ['keydown', 'pointerdown', 'change'];
  let timer = null;

  function arm(wanted, milliseconds) {
    const tests = Object.entries(wanted).map(([name, [kind, settings]]) => [name, conditions[kind](settings)]);
    const mine = (timer = { start: null, ends: {} });
    const open = new Map(tests);
    const begin = event => (mine.start ??= Math.min(event.timeStamp, performance.now()));
    let settle;
    const check = () => {
      if (mine.start === null) return;
      for (const [name, test] of open) {
        if (test()) {
          open.delete(name);
          requestAnimationFrame(() => {
            mine.ends[name] = performance.now() - mine.start;
            if (Object.keys(mine.ends).length === tests.length) settle();
          });
        }
      }
    };
    const observer = new MutationObserver(check);
    observer.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
    const ticks = setInterval(check, 10); // for what changes no node, such as an input's value
    document.addEventListener('load', check, true);
    USER_EVENTS.forEach(name => window.addEventListener(name, begin, true));
    mine.finished = new Promise((resolve, reject) => {
      const waiting = () => `after ${milliseconds} ms ${[...open.keys()].join(', ')} had not come true`;
      const limit = setTimeout(() => {
        stop();
        reject(new Error(mine.start === null ? 'no key, mouse or change event came' : waiting()));
      }, milliseconds);
      const stop = () => {
        clearTimeout(limit);
        clearInterval(ticks);
        observer.disconnect();
        document.removeEventListener('load', check, true);
        USER_EVENTS.forEach(name => window.removeEventListener(name, begin, true));
      };
      settle = () => (stop(), resolve(mine.ends));
    });
    mine.finished.catch(() => {}); // whoever awaits it hears of it
  }

  // ---- looking

  async function pictures(selector) {
    const encode = async image => {
      const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
      return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ''));
    };
    return Promise.all(all(selector).map(encode));
  }

  // WCAG 2 contrast of every piece of text below a selector against the colour behind it; the smallest first.
  function contrasts(selector) {
    const parse = colour => {
      const found = colour.match(/^rgba?\(([^)]+)\)$/);
      if (!found) return null;
      const [r, g, b, a = 1] = found[1].split(/[,/ ]+/).map(Number);
      return [r, g, b, a];
    };
    const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
    const behind = node => {
      const layers = [];
      for (let at = node; at; at = at.parentElement) {
        const colour = parse(getComputedStyle(at).backgroundColor);
        if (colour) layers.push(colour);
        if (colour?.[3] === 1) break;
      }
      return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
    };
    const luminance = colour => {
      const linear = v => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
      return 0.2126 * linear(colour[0]) + 0.7152 * linear(colour[1]) + 0.0722 * linear(colour[2]);
    };
    const found = new Map();
    for (const root of all(selector)) {
      const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
      while (walker.nextNode()) {
        const text = walker.currentNode.textContent.trim();
        const node = walker.currentNode.parentElement;
        if (!text || node.closest('[disabled]') || !node.checkVisibility({ visibilityProperty: true })) continue;
        const back = behind(node);
        const ink = parse(getComputedStyle(node).color);
        if (!ink) continue;
        const [a, b] = [luminance(over(ink, back)), luminance(back)].sort((x, y) => y - x);
        found.set(text.slice(0, 60), Math.round((100 * (a + 0.05)) / (b + 0.05)) / 100);
      }
    }
    return [...found].sort((x, y) => x[1] - y[1]);
  }

  async function quiet(selector, milliseconds) {
    const read = () => all(selector).map(node => node.innerText).join('\n');
    for (let last = read(), since = performance.now(); performance.now() - since < milliseconds; await frame()) {
      if (read() !== last) [last, since] = [read(), performance.now()];
    }
  }

  function scroller() {
    const outer = panel().content.outerNode ?? panel().content.node;
    return { element: outer, height: outer.scrollHeight, sight: outer.clientHeight };
  }

  return {
    ready, startRunAll, runState, runEnded, cells, evaluate, arm, pictures, contrasts, frame, quiet,
    finished: () => timer.finished,
    status: () => kernel()?.status ?? 'none',
    interrupt: () => kernel().interrupt(),
    restart: () => session().restartKernel(),
    command: (name, settings) => window.jupyterapp.commands.execute(name, settings).then(() => null),
    heights: () => { const { height, sight } = scroller(); return [height, sight]; },
    scroll: top => { scroller().element.scrollTop = top; return frame().then(frame); },
  };
})();
