// The brush: strokes over a picture of one's own say what of it is painted anew. Strokes are in pixels of the picture.

const DOT = 0.01;

/** Draw strokes [{ px, points: [{ x, y }] }], px the brush's width, on a canvas whose pixels are `scale` picture pixels wide. */
export function drawStrokes(context, strokes, scale, colour) {
  Object.assign(context, { strokeStyle: colour, lineCap: "round", lineJoin: "round" });
  for (const { px, points } of strokes) {
    context.lineWidth = px * scale;
    context.beginPath();
    context.moveTo(points[0].x * scale - DOT, points[0].y * scale); // a stroke without length would not be drawn
    for (const { x, y } of points) context.lineTo(x * scale, y * scale);
    context.stroke();
  }
}

/** The mask that the gateway takes: as large as the picture, white where it is painted anew. */
export function maskOf(strokes, { width, height }) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.fillRect(0, 0, width, height); // black
  drawStrokes(context, strokes, 1, "#fff");
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
