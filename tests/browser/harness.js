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

  const LOST = 2000; // milliseconds that an answer may come later than the end of its request
  const watched = new WeakSet();
  let run = null;

  // What became of each request to run a cell. ipykernel never answers one that an interrupt meets in the kernel's own
  // code, a moment before or after the cell's: it logs "KeyboardInterrupt caught in kernel" and goes on to the next
  // (`dispatch_shell`; ipython/ipykernel#666). JupyterLab awaits that answer for ever, and with it the end of Run All,
  // while the kernel is idle and runs whatever is asked of it.
  function watch(kernel) {
    if (watched.has(kernel)) return;
    watched.add(kernel);
    kernel.anyMessage.connect((_, { msg, direction }) => {
      const [type, parent] = [msg.header.msg_type, msg.parent_header.msg_id];
      if (!run) return;
      if (direction === 'send' && type === 'execute_request') run.open.set(msg.header.msg_id, null);
      if (type === 'execute_reply') run.open.delete(parent);
      if (type === 'status' && msg.content.execution_state === 'idle' && run.open.has(parent)) {
        run.open.set(parent, performance.now());
      }
    });
  }

  // How many cells an interrupt has left without an answer, once there is nothing else to wait for.
  function unanswered() {
    const ends = [...run.open.values()];
    return run.interrupted && ends.every(time => time !== null && performance.now() - time > LOST) ? ends.length : 0;
  }

  function interrupt() {
    if (run) run.interrupted = true;
    return kernel().interrupt();
  }

  function startRunAll() {
    watch(kernel());
    const mine = (run = {
      started: performance.now(), ended: null, firstPicture: null, ok: null, interrupted: false, open: new Map(),
    });
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
    const seconds = since(run.ended ?? performance.now());
    return { ok: run.ok, seconds, firstPicture: since(run.firstPicture), unanswered: unanswered() };
  }

  // Ended, and every widget that a cell shows has been built (one whose cell was interrupted may never be).
  function runEnded() {
    const views = all('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.widget-view+json"]');
    const raised = () => cells().some(cell => cell.errors.length);
    const built = views.every(v => v.querySelector('.jupyter-widgets')) || run.interrupted || raised();
    return (run.ended !== null || unanswered() > 0) && kernel()?.status === 'idle' && built;
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

  // ---- colours, as WCAG 2 sees them

  function parse(colour) {
    const found = colour.match(/^rgba?\(([^)]+)\)$/);
    if (!found) return null;
    const [r, g, b, a = 1] = found[1].split(/[,/ ]+/).map(Number);
    return [r, g, b, a];
  }

  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);

  function behind(node) {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour) layers.push(colour);
      if (colour?.[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  }

  function luminance(colour) {
    const linear = v => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear(colour[0]) + 0.7152 * linear(colour[1]) + 0.0722 * linear(colour[2]);
  }

  function ratio(ink, back) {
    const [a, b] = [luminance(over(ink, back)), luminance(back)].sort((x, y) => y - x);
    return Math.round((100 * (a + 0.05)) / (b + 0.05)) / 100;
  }

  // The contrast of every piece of text below a selector against the colour behind it; the smallest first.
  function contrasts(selector) {
    const found = new Map();
    for (const root of all(selector)) {
      const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
      while (walker.nextNode()) {
        const text = walker.currentNode.textContent.trim();
        const node = walker.currentNode.parentElement;
        if (!text || node.closest('[disabled]') || !node.checkVisibility({ visibilityProperty: true })) continue;
        const ink = parse(getComputedStyle(node).color);
        if (ink) found.set(text.slice(0, 60), ratio(ink, behind(node)));
      }
    }
    return [...found].sort((x, y) => x[1] - y[1]);
  }

  // What each picture in the notebook says to those who do not see it, also those in markdown.
  function words() {
    const images = panel().content.node.querySelectorAll('.jp-OutputArea img, .jp-MarkdownOutput img');
    return [...images].map(image => image.alt);
  }

  async function quiet(selector, milliseconds) {
    const read = () => all(selector).map(node => node.innerText).join('\n');
    for (let last = read(), since = performance.now(); performance.now() - since < milliseconds; await frame()) {
      if (read() !== last) [last, since] = [read(), performance.now()];
    }
  }

  // ---- keys: what can be worked in a widget, by what Tab should reach

  const HEADER = '.jupyter-widget-Collapse-header';
  const CONTROLS = `button, select, input, textarea, [role=slider], [contenteditable=true], ${HEADER}`;

  // The controls in sight below a selector, numbered in the page for `focused`.
  function controls(selector) {
    const found = all(selector).flatMap(root => [...root.querySelectorAll(CONTROLS)]);
    const usable = found.filter(
      node => !node.closest('[disabled]') && node.checkVisibility({ visibilityProperty: true }),
    );
    const widgets = [...new Set(usable.map(node => node.closest('.jupyter-widgets')))]; // a slider is two controls, say
    return usable.map((node, number) => {
      node.dataset.harness = number;
      const label = node.getAttribute('aria-label') ?? node.labels?.[0]?.innerText ?? '';
      const name = label.trim() || (node.matches('button, [role=button]') && node.innerText) || node.title;
      const kind = node.matches(HEADER) ? 'fold' : node.getAttribute('role') ?? node.type ?? node.tagName.toLowerCase();
      const widget = widgets.indexOf(node.closest('.jupyter-widgets'));
      return { number, kind, name: name.trim(), expanded: node.getAttribute('aria-expanded'), widget };
    });
  }

  // The control that has the focus: its number (null: it is none of them), and how far its ring stands out.
  function focused() {
    const node = document.activeElement;
    const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(node);
    const ring = outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2 && parse(outlineColor);
    const ground = node.closest('.slider-container') ?? node.parentElement ?? node; // a slider's track is but a line
    const contrast = ring ? ratio(ring, behind(ground)) : 0;
    return { number: node.dataset.harness === undefined ? null : Number(node.dataset.harness), contrast };
  }

  // What a key does to a control, without a word to its widget: how often it is clicked, and what it says then.
  const place = node => node.closest('.noUi-origin')?.style.transform; // finer than its rounded aria-valuenow
  const state = node => [node.value, node.checked, place(node)].join();
  let clicks = 0;
  const swallow = event => {
    clicks += event.type === 'click' && event.isTrusted;
    event.stopPropagation();
  };

  function deafen(selector, deaf) {
    const change = deaf ? 'addEventListener' : 'removeEventListener';
    clicks = 0;
    all(selector).forEach(root => ['click', 'change', 'input'].forEach(type => root[change](type, swallow, true)));
  }

  function pressed() {
    const before = clicks;
    clicks = 0;
    return { clicks: before, state: state(document.activeElement) };
  }

  function focusBefore(selector) {
    const root = document.querySelector(selector);
    root.tabIndex = -1;
    root.focus();
  }

  function scroller() {
    const outer = panel().content.outerNode ?? panel().content.node;
    return { element: outer, height: outer.scrollHeight, sight: outer.clientHeight };
  }

  return {
    ready, startRunAll, runState, runEnded, cells, evaluate, arm, pictures, contrasts, frame, quiet, interrupt,
    words, controls, focused, deafen, pressed, focusBefore,
    finished: () => timer.finished,
    status: () => kernel()?.status ?? 'none',
    restart: () => session().restartKernel(),
    command: (name, settings) => window.jupyterapp.commands.execute(name, settings).then(() => null),
    heights: () => { const { height, sight } = scroller(); return [height, sight]; },
    scroll: top => { scroller().element.scrollTop = top; return frame().then(frame); },
  };
})();
