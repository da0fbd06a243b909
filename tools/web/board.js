// The board: shows a photograph or a map, takes uploads as bytes, and paints labels or a mask.
// Value: {kind, width, height, picture, source, cells, labels, factor, example, message, most}.
// Cells are one byte a pixel. With labels the cells are label ids; without, a mask (1: draw anew).
const root = element.querySelector('.board');
const make = (tag, name, parent, text) => {
  const node = document.createElement(tag);
  node.className = name;
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
};
const button = (parent, text, act, name = 'chip') => {
  const node = make('button', name, parent, text);
  node.type = 'button';
  node.addEventListener('click', act);
  return node;
};

const bar = make('div', 'board-bar', root);
const frame = make('div', 'board-frame', root);
const photo = make('img', 'board-photo', frame);
photo.alt = '';
photo.draggable = false;
const canvas = make('canvas', 'board-canvas', frame);
const line = make('div', 'board-line', frame);
make('span', '', line, 'drag');
const empty = make('div', 'board-empty', frame, 'Drop a file here, or use Upload');
const note = make('p', 'board-note', root);
note.setAttribute('role', 'status');
const tools = make('div', 'board-tools', root);
const palette = make('div', 'board-palette', root);
const context = canvas.getContext('2d');

let value = {}, cells = null, colours = [], label = 0, tool = 'brush', undo = [];

const encode = (bytes) => {
  let text = '';
  for (let i = 0; i < bytes.length; i += 32768)
    text += String.fromCharCode.apply(null, bytes.subarray(i, i + 32768));
  return btoa(text);
};
const decode = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

const say = (text, bad) => {
  note.textContent = text || '';
  note.classList.toggle('bad', Boolean(bad));
};

const paints = () => value.kind === 'labels' || value.kind === 'mask';

const draw = () => {
  if (!cells) return;
  const image = context.createImageData(canvas.width, canvas.height);
  for (let i = 0; i < cells.length; i++) {
    const [r, g, b, a] = colours[cells[i]] || [0, 0, 0, 255];
    image.data.set([r, g, b, a], 4 * i);
  }
  context.putImageData(image, 0, 0);
};

const send = () => {
  // A new object, so that the page takes notice; `own` says that it comes from here.
  value = { ...value, cells: encode(cells), own: true };
  props.value = value;
};

const keep = () => {
  undo.push(cells.slice());
  if (undo.length > 30) undo.shift();
};

const disc = (x, y) => {
  const r = Number(size.value) / 2;
  for (let j = Math.max(0, Math.ceil(y - r)); j <= Math.min(canvas.height - 1, y + r); j++)
    for (let i = Math.max(0, Math.ceil(x - r)); i <= Math.min(canvas.width - 1, x + r); i++)
      if ((i - x) ** 2 + (j - y) ** 2 <= r * r) cells[j * canvas.width + i] = label;
};

const fill = (x, y) => {
  const [w, h] = [canvas.width, canvas.height];
  const from = cells[y * w + x], stack = [[x, y]];
  if (from === label) return;
  while (stack.length) {
    const [i, j] = stack.pop();
    if (i < 0 || j < 0 || i >= w || j >= h || cells[j * w + i] !== from) continue;
    cells[j * w + i] = label;
    stack.push([i + 1, j], [i - 1, j], [i, j + 1], [i, j - 1]);
  }
};

// The boundary snaps to whole cells of the model; everything below it is drawn anew.
const boundary = (y) => {
  const f = value.factor || 1, rows = canvas.height / f;
  const row = Math.min(rows - 1, Math.max(0, Math.round(y / f)));
  cells.fill(0);
  cells.fill(1, row * f * canvas.width);
  line.style.top = `${(100 * row) / rows}%`;
};

let last = null;
const place = (event) => {
  const box = canvas.getBoundingClientRect();
  const at = (v, from, span, n) => Math.min(n - 1, Math.max(0, ((v - from) / span) * n));
  return [
    at(event.clientX, box.left, box.width, canvas.width),
    at(event.clientY, box.top, box.height, canvas.height),
  ];
};
const stroke = (x, y) => {
  const [px, py] = last || [x, y];
  const steps = Math.ceil(Math.hypot(x - px, y - py)) + 1;
  for (let s = 1; s <= steps; s++)
    disc(px + ((x - px) * s) / steps, py + ((y - py) * s) / steps);
  last = [x, y];
};
const down = (event) => {
  if (!cells || !paints()) return;
  event.preventDefault();
  frame.setPointerCapture(event.pointerId);
  keep();
  const [x, y] = place(event);
  last = null;
  if (tool === 'fill') fill(Math.floor(x), Math.floor(y));
  else if (tool === 'boundary') boundary(y);
  else stroke(x, y);
  last = [x, y];
  draw();
};
const move = (event) => {
  if (!last || tool === 'fill') return;
  const [x, y] = place(event);
  if (tool === 'boundary') boundary(y);
  else stroke(x, y);
  draw();
};
const up = () => {
  if (!last) return;
  last = null;
  send();
};
frame.addEventListener('pointerdown', down);
frame.addEventListener('pointermove', move);
frame.addEventListener('pointerup', up);
frame.addEventListener('pointercancel', up);

const take = (file) => {
  if (!file) return;
  if (file.size > value.most) {
    const mb = (n) => (n / 2 ** 20).toFixed(1);
    say(`The file has ${mb(file.size)} MB; at most ${mb(value.most)} MB are taken.`, true);
    return;
  }
  say('Reading …');
  const reader = new FileReader();
  reader.onload = () => {
    props.value = { kind: value.kind, file: String(reader.result), own: true };
    trigger('upload');
  };
  reader.onerror = () => say('The browser cannot read this file.', true);
  reader.readAsDataURL(file);
};
const picker = make('input', 'board-file', root);
picker.type = 'file';
picker.accept = 'image/*';
picker.addEventListener('change', () => { take(picker.files[0]); picker.value = ''; });
frame.addEventListener('dragover', (event) => event.preventDefault());
frame.addEventListener('drop', (event) => {
  event.preventDefault();
  take(event.dataTransfer.files[0]);
});

button(bar, 'Upload', () => picker.click());
const example = button(bar, 'Example', () => { say(''); trigger('example'); });
const toolButtons = {};
const choose = (name) => {
  tool = name;
  if (value.kind === 'mask') {
    label = name === 'eraser' ? 0 : 1;
    if (name === 'boundary' && cells) { keep(); boundary(canvas.height / 2); draw(); send(); }
  }
  refresh();
};
for (const name of ['boundary', 'brush', 'fill', 'eraser'])
  toolButtons[name] = button(tools, name[0].toUpperCase() + name.slice(1), () => choose(name));
const sizes = make('label', 'board-size', tools, 'Size');
const size = make('input', '', sizes);
Object.assign(size, { type: 'range', min: 2, max: 48, value: 14 });
size.setAttribute('aria-label', 'Brush size');
const back = button(bar, 'Undo', () => {
  if (!undo.length) return;
  cells = undo.pop();
  draw();
  send();
});

const refresh = () => {
  const mask = value.kind === 'mask';
  tools.hidden = back.hidden = !paints() || !cells;
  toolButtons.boundary.hidden = toolButtons.eraser.hidden = !mask;
  toolButtons.fill.hidden = mask;
  for (const [name, node] of Object.entries(toolButtons))
    node.setAttribute('aria-pressed', String(name === tool));
  sizes.hidden = tool === 'fill' || tool === 'boundary';
  line.hidden = !(mask && tool === 'boundary' && cells);
  [...palette.children].forEach((node, i) => node.setAttribute('aria-pressed', String(i === label)));
};

const show = () => {
  const given = props.value || {};
  if (given.own) return;
  value = given;
  say(value.message, value.bad);
  const there = Boolean(value.width);
  empty.hidden = there;
  example.hidden = !value.example;
  photo.hidden = !value.picture;
  if (value.picture) photo.src = value.picture;
  canvas.hidden = !paints() || !there;
  frame.style.aspectRatio = there ? `${value.width} / ${value.height}` : '1 / 1';
  frame.classList.toggle('paints', paints() && there);
  palette.replaceChildren();
  undo = [];
  cells = null;
  const labels = value.labels || [];
  colours = labels.length ? labels.map((one) => [...one.colour, 255]) : [[0, 0, 0, 0], [214, 64, 112, 165]];
  if (label >= colours.length) label = 0;
  labels.forEach((one, i) => {
    const node = button(palette, one.name, () => { label = i; if (tool !== 'fill') tool = 'brush'; refresh(); }, 'swatch');
    const dot = make('i', '', null);
    dot.style.background = `rgb(${one.colour})`;
    node.prepend(dot);
  });
  if (there && paints()) {
    canvas.width = value.width;
    canvas.height = value.height;
    cells = value.cells ? decode(value.cells) : new Uint8Array(value.width * value.height);
    if (value.kind === 'mask' && !value.cells) { tool = 'boundary'; label = 1; boundary(canvas.height / 2); send(); }
    draw();
  }
  refresh();
};
watch('value', show);
show();
