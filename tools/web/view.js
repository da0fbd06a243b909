// The view: what a run tells on its way (pictures, progress) and what it has made.
// Value: {state, message, done, pictures, before, codes, seed, facts, files, labels}.
const root = element.querySelector('.view');
const make = (tag, name, parent, text) => {
  const node = document.createElement(tag);
  node.className = name;
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
};
const stage = make('div', 'view-stage', root);
const grid = make('div', 'view-grid', stage);
const slider = make('div', 'view-slider', stage);
const after = make('img', '', slider);
const before = make('img', 'view-before', slider);
before.alt = 'before';
after.alt = 'after';
const captions = [make('span', 'view-left', slider), make('span', 'view-right', slider)];
const handle = make('div', 'view-handle', slider);
const range = make('input', 'view-range', slider);
Object.assign(range, { type: 'range', min: 0, max: 100, step: 0.5, value: 50 });
range.setAttribute('aria-label', 'Before and after');
const empty = make('div', 'view-empty', stage, 'The picture appears here.');
const progress = make('div', 'view-progress', root);
const filled = make('div', '', progress);
const status = make('p', 'view-status', root);
status.setAttribute('role', 'status');
const links = make('div', 'view-links', root);
const codes = make('figure', 'view-codes', root);
const mosaic = make('img', '', codes);
mosaic.alt = 'code map';
make('figcaption', '', codes, 'Code map: one colour for each entry of the codebook');

const slide = () => {
  before.style.clipPath = `inset(0 ${100 - range.value}% 0 0)`;
  handle.style.left = `${range.value}%`;
};
range.addEventListener('input', slide);

const pictures = (list) => {
  while (grid.children.length > list.length) grid.lastChild.remove();
  grid.style.setProperty('--columns', Math.ceil(Math.sqrt(list.length)) || 1);
  list.forEach((url, i) => {
    const image = grid.children[i] || make('img', '', grid);
    image.alt = `picture ${i + 1}`;
    if (image.src !== url) image.src = url;
  });
};

const show = () => {
  const value = props.value || {};
  const list = value.pictures || [], compared = Boolean(value.before);
  root.dataset.state = value.state || 'idle';
  pictures(compared ? [] : list);
  grid.hidden = compared || !list.length;
  slider.hidden = !compared;
  if (compared) {
    before.src = value.before;
    after.src = list[0];
    (value.labels || ['before', 'after']).forEach((text, i) => { captions[i].textContent = text; });
    slide();
  }
  empty.hidden = list.length > 0;
  progress.hidden = value.state !== 'running';
  filled.style.width = `${100 * (value.done || 0)}%`;
  status.textContent = value.message || '';
  codes.hidden = !value.codes;
  if (value.codes) mosaic.src = value.codes;
  links.replaceChildren();
  for (const file of value.files || []) {
    const link = make('a', 'chip', links, file.label);
    link.href = file.url;
    link.download = file.name;
  }
  if (value.seed) {
    const reuse = make('button', 'chip view-seed', links, `Use seed ${value.seed} again`);
    reuse.type = 'button';
    reuse.addEventListener('click', () => trigger('reuse'));
  }
};
watch('value', show);
show();
