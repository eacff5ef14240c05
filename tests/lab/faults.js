// Everything that a person would find wrong with the outputs of the notebook that is open.
async () => {
  const faults = [];
  const contrast = CONTRAST;
  const hasText = node => [...node.childNodes].some(c => c.nodeType == 3 && c.data.trim());

  // The nearest element, up to the output, that scrolls sideways.
  const scroller = (node, output) => {
    for (; node; node = node == output ? null : node.parentElement) {
      if (['auto', 'scroll'].includes(getComputedStyle(node).overflowX)) return node;
    }
    return null;
  };
  // How many colours fill more than a few pixels of an image.
  const colours = image => {
    const drawn = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext('2d');
    drawn.drawImage(image, 0, 0);
    const data = drawn.getImageData(0, 0, image.naturalWidth, image.naturalHeight).data;
    const count = {};
    for (let i = 0; i < data.length; i += 4) {
      const key = data.slice(i, i + 4).join();
      count[key] = (count[key] ?? 0) + 1;
    }
    return Object.values(count).filter(number => number > 20).length;
  };

  const panel = document.querySelector('.jp-NotebookPanel').getBoundingClientRect();
  for (const output of document.querySelectorAll('.jp-OutputArea-output')) {
    const say = (what, node) => faults.push([what, node.outerHTML.slice(0, 120)]);
    if (/<\/?(svg|div|table|td|style|img|rect|span)\b/.test(output.innerText)) {
      say('markup is shown as text', output);
    }
    for (const button of output.querySelectorAll('button')) say('a button', button);
    if (output.getBoundingClientRect().right > panel.right + 1) say('wider than the page', output);
    for (const node of output.querySelectorAll('*')) {
      const box = node.getBoundingClientRect();
      if (box.right <= panel.right + 1) continue;
      const around = scroller(node, output);
      if (!around || around.getBoundingClientRect().right > panel.right + 1) {
        say('wider than the page, and nothing scrolls', node);
      }
    }
    for (const image of output.querySelectorAll('img')) {
      await image.decode().catch(() => null);
      const box = image.getBoundingClientRect();
      if (!image.naturalWidth || !box.width) say('a broken image', image);
      else if (colours(image) < 2) say('a blank image', image);
      const isOurs = image.src.startsWith('data:image/svg');
      for (const side of ['width', 'height']) {
        const given = image.getAttribute(side);
        if (isOurs && box[side] != given) say(`an image of the wrong ${side} ${box[side]}`, image);
      }
    }
    for (const node of output.querySelectorAll('.msckpt, .msckpt *')) {
      if (!hasText(node) || node.tagName == 'STYLE') continue;
      if (contrast(node) < 4.5) say(`a contrast of ${contrast(node)}`, node);
    }
  }
  return faults;
}
