// Draws atoms as shaded discs, far ones first: no WebGL, no library, works on a phone.
(() => {
  const scenes = JSON.parse(document.getElementById("scenes").textContent);
  const canvas = document.getElementById("scene"), pen = canvas.getContext("2d");
  const choice = document.getElementById("choice");
  let turn = [0.35, -0.5], zoom = 1;
  scenes.frames.forEach((frame, index) => choice.add(new Option(frame.title, index)));
  choice.selectedIndex = scenes.frames.length - 1;

  function turned(p) {
    const [a, b] = turn, x = p[0] * Math.cos(b) + p[2] * Math.sin(b);
    const z = -p[0] * Math.sin(b) + p[2] * Math.cos(b);
    return [x, p[1] * Math.cos(a) - z * Math.sin(a), p[1] * Math.sin(a) + z * Math.cos(a)];
  }
  function line(p, q, width, colour) {
    pen.lineWidth = width; pen.strokeStyle = colour;
    pen.beginPath(); pen.moveTo(p[0], p[1]); pen.lineTo(q[0], q[1]); pen.stroke();
  }
  function draw() {
    const frame = scenes.frames[choice.selectedIndex], cell = frame.cell, ink = getComputedStyle(canvas).color;
    const corner = (i, j, k) => [0, 1, 2].map(c => i * cell[0][c] + j * cell[1][c] + k * cell[2][c]);
    const middle = corner(0.5, 0.5, 0.5);
    const far = Math.max(...[0, 1, 2, 3, 4, 5, 6, 7].map(n => Math.hypot(...corner(n & 1, n >> 1 & 1, n >> 2).map((x, c) => x - middle[c]))), 3);
    const scale = zoom * 0.46 * canvas.height / far;
    const place = p => { const [x, y, z] = turned(p.map((v, c) => v - middle[c])); return [canvas.width / 2 + scale * x, canvas.height / 2 - scale * y, z]; };
    pen.clearRect(0, 0, canvas.width, canvas.height);
    for (let n = 0; n < 8; n++) for (const bit of [1, 2, 4]) if (!(n & bit)) {
      const m = n | bit;
      line(place(corner(n & 1, n >> 1 & 1, n >> 2)), place(corner(m & 1, m >> 1 & 1, m >> 2)), 1.5, ink);
    }
    const atoms = frame.positions.map((p, i) => ({ p, at: place(p), kind: scenes.species[frame.kinds[i]] }));
    const things = atoms.map(atom => ({ z: atom.at[2], atom }));
    if (atoms.length <= 400) atoms.forEach((one, i) => atoms.slice(i + 1).forEach(other => {
      const apart = Math.hypot(...one.p.map((v, c) => v - other.p[c]));
      if (apart < 1.2 * (one.kind.radius + other.kind.radius)) things.push({ z: (one.at[2] + other.at[2]) / 2 - 0.01, bond: [one.at, other.at] });
    }));
    things.sort((one, other) => one.z - other.z);
    for (const { atom, bond } of things) {
      if (bond) { line(bond[0], bond[1], Math.max(2, 0.22 * scale), "#8a8a8a"); continue; }
      const [x, y] = atom.at, r = Math.max(2, 0.45 * atom.kind.radius * scale);
      const glow = pen.createRadialGradient(x - 0.35 * r, y - 0.35 * r, 0.1 * r, x, y, r);
      glow.addColorStop(0, "#ffffff"); glow.addColorStop(0.35, atom.kind.colour); glow.addColorStop(1, atom.kind.colour);
      pen.fillStyle = glow; pen.beginPath(); pen.arc(x, y, r, 0, 7); pen.fill();
      pen.lineWidth = 1; pen.strokeStyle = "#333"; pen.stroke();
    }
    canvas.setAttribute("aria-label", `${frame.title}: ${frame.formula}, ${frame.positions.length} atoms, ${frame.volume} Å³. Arrow keys turn it.`);
  }
  function change(a, b, factor) { turn = [turn[0] + a, turn[1] + b]; zoom = Math.min(8, Math.max(0.3, zoom * factor)); draw(); }
  const keys = { ArrowUp: [-0.1, 0, 1], ArrowDown: [0.1, 0, 1], ArrowLeft: [0, -0.1, 1], ArrowRight: [0, 0.1, 1], "+": [0, 0, 1.15], "=": [0, 0, 1.15], "-": [0, 0, 1 / 1.15] };
  canvas.addEventListener("keydown", event => { if (keys[event.key]) { event.preventDefault(); change(...keys[event.key]); } });
  canvas.addEventListener("pointermove", event => { if (event.buttons) change(event.movementY / 120, event.movementX / 120, 1); });
  canvas.addEventListener("pointerdown", event => canvas.setPointerCapture(event.pointerId));
  document.getElementById("in").addEventListener("click", () => change(0, 0, 1.25));
  document.getElementById("out").addEventListener("click", () => change(0, 0, 0.8));
  choice.addEventListener("change", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
})();
