// The board: shows a photograph or a map, takes uploads as bytes, and paints labels or a mask.
// Value: {kind, width, height, side, sides, picture, source, cells, labels, factor, example, message,
// most}; to upload: {kind, file, side}, or without a file what is to get another side.
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
  if (value.kind === 'labels') lastFile = ''; // what is painted counts from now on
  // A new object, so that the page takes notice; `own` says that it comes from here.
  value = { ...value, cells: encode(cells), own: true };
  props.value = value;
};

const keep = () => {
  undo.push(cells.slice());
  if (undo.length > 30) undo.shift();
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
const brush = (x, y) => stroke(cells, canvas.width, last || [x, y], [x, y], size.value / 2, label);
const down = (event) => {
  if (!cells || !paints()) return;
  event.preventDefault();
  frame.setPointerCapture(event.pointerId);
  keep();
  const [x, y] = place(event);
  last = null;
  if (tool === 'fill') fill(cells, canvas.width, Math.floor(x), Math.floor(y), label);
  else if (tool === 'boundary') boundary(y);
  else brush(x, y);
  last = [x, y];
  draw();
};
const move = (event) => {
  if (!last || tool === 'fill') return;
  const [x, y] = place(event);
  if (tool === 'boundary') boundary(y);
  else brush(x, y);
  last = [x, y];
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

let lastFile = '', asked = ''; // the file that is shown, and the one that is on its way
const ask = (event, file) => {
  const { kind, width, height, cells: painted } = value;
  const map = kind === 'labels' && !file ? { width, height, cells: painted } : {};
  asked = file;
  props.value = { kind, file, side: Number(side.value), ...map, own: true };
  trigger(event);
};
const take = (file) => {
  if (!file) return;
  if (file.size > value.most) {
    const mb = (n) => (n / 2 ** 20).toFixed(1);
    say(`The file has ${mb(file.size)} MB; at most ${mb(value.most)} MB are taken.`, true);
    return;
  }
  say('Reading …');
  const reader = new FileReader();
  reader.onload = () => ask('upload', String(reader.result));
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
const example = button(bar, 'Example', () => ask('example', ''));
const sideLabel = make('label', 'board-size', bar, 'Shorter side');
const side = make('select', 'chip', sideLabel);
side.addEventListener('change', () => ask('upload', lastFile));
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
const back = button(tools, 'Undo', () => {
  if (!undo.length) return;
  cells = undo.pop();
  draw();
  send();
});

const clear = button(tools, 'Clear', () => { keep(); cells.fill(0); choose('brush'); draw(); send(); });

const refresh = () => {
  const mask = value.kind === 'mask';
  tools.hidden = !paints() || !cells;
  toolButtons.boundary.hidden = toolButtons.eraser.hidden = clear.hidden = !mask;
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
  if (given.bad && value.width) { // what was there stays
    say(given.message, true);
    side.value = value.side;
    props.value = value = { ...value, own: true };
    return;
  }
  lastFile = asked;
  asked = '';
  value = given;
  say(value.message, value.bad);
  const there = Boolean(value.width);
  empty.hidden = there;
  example.hidden = !value.example;
  photo.hidden = !value.picture;
  if (value.picture) photo.src = value.picture;
  canvas.hidden = !paints() || !there;
  side.replaceChildren(...value.sides.map((n) => new Option(`${n} px`, n, false, n === value.side)));
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
