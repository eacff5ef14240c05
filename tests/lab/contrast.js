(() => { // the contrast of an element's text to what is behind it, by WCAG's formula
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});

  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const part = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = rgba(getComputedStyle(node).backgroundColor);
      if (colour[3] == 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const contrast = node => {
    const one = light(rgba(getComputedStyle(node).color)), other = light(behind(node));
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  };
  return contrast;
})()
