// Bytes and cells: base64, brush strokes and fills; no page, no state. Cells are one byte a pixel.
const encode = (bytes) => {
  let text = '';
  for (let i = 0; i < bytes.length; i += 32768)
    text += String.fromCharCode.apply(null, bytes.subarray(i, i + 32768));
  return btoa(text);
};
const decode = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

const disc = (cells, width, x, y, radius, label) => {
  const height = cells.length / width;
  for (let j = Math.max(0, Math.ceil(y - radius)); j <= Math.min(height - 1, y + radius); j++)
    for (let i = Math.max(0, Math.ceil(x - radius)); i <= Math.min(width - 1, x + radius); i++)
      if ((i - x) ** 2 + (j - y) ** 2 <= radius * radius) cells[j * width + i] = label;
};

// A stroke is a row of discs, close enough to each other to leave no gap.
const stroke = (cells, width, [fromX, fromY], [x, y], radius, label) => {
  const steps = Math.ceil(Math.hypot(x - fromX, y - fromY)) + 1;
  for (let s = 1; s <= steps; s++) {
    const share = s / steps;
    disc(cells, width, fromX + (x - fromX) * share, fromY + (y - fromY) * share, radius, label);
  }
};

const fill = (cells, width, x, y, label) => {
  const height = cells.length / width, from = cells[y * width + x], stack = [[x, y]];
  if (from === label) return;
  while (stack.length) {
    const [i, j] = stack.pop();
    if (i < 0 || j < 0 || i >= width || j >= height || cells[j * width + i] !== from) continue;
    cells[j * width + i] = label;
    stack.push([i + 1, j], [i - 1, j], [i, j + 1], [i, j - 1]);
  }
};
