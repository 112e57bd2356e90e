// The report without this script is complete; it sorts and filters the pictures, opens the viewer and copies text.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const STEP = 48;

  function make(tag, properties, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  // --- pictures of all scans: made when they come near the window ---------------------------------------------------
  function startGallery() {
    const source = byId("gallery-data");
    if (!source) return;
    const { targets, scans } = JSON.parse(source.textContent);
    const size = Number(source.dataset.chunk);
    const list = byId("gallery");
    const more = byId("gallery-more");
    const chunks = new Map();
    let order = [];
    let shown = 0;

    function picture(number) {
      const block = Math.floor(number / size);
      if (!chunks.has(block)) {
        const held = byId(`gallery-${block}`);
        chunks.set(block, held ? held.textContent.split("\n") : []);
      }
      return chunks.get(block)[number % size] || "";
    }

    // [score, its structure, distance, its structure] of a scan, or of one structure on it
    function values(scan, target) {
      if (target === "") return [scan[1], scan[2], scan[3], scan[4]];
      const own = scan[7][target];
      return [own[0], target, own[1], target];
    }

    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        watcher.unobserve(entry.target);
        entry.target.src = `data:image/webp;base64,${picture(Number(entry.target.dataset.number))}`;
      }
    }, { rootMargin: "400px" });

    function item(number, target) {
      const scan = scans[number];
      const [score, worst, distance, farthest] = values(scan, target);
      const notes = [];
      if (score !== null) notes.push(`qc_score ${score.toFixed(2)} (${targets[worst]})`);
      if (distance !== null) notes.push(`volume ${distance > 0 ? "+" : "\u2212"}${Math.abs(distance).toFixed(1)} SD (${targets[farthest]})`);
      const figure = make("figure", {});
      if (scan[6] || !picture(number)) {
        figure.append(make("p", { className: "nothing" }, `No picture: ${scan[6] || "kept in figures/qc"}`));
      } else {
        const image = make("img", { alt: `Outlines on three slices of ${scan[0]}`, width: 388, height: 128 });
        image.dataset.number = number;
        figure.append(image);
        watcher.observe(image);
      }
      const marks = scan[5] ? [make("span", { className: "mark" }, "look at this"), " "] : [];
      figure.append(make("figcaption", {}, ...marks, make("strong", {}, scan[0]), ` ${notes.join("; ") || "no score"}`));
      return make("li", {}, figure);
    }

    function grow() {
      const next = order.slice(shown, shown + STEP);
      list.append(...next.map((number) => item(number, byId("gallery-target").value)));
      shown += next.length;
      more.hidden = shown >= order.length;
      byId("gallery-status").textContent =
        `${order.length.toLocaleString("en")} of ${scans.length.toLocaleString("en")} scans; ${shown.toLocaleString("en")} shown.`;
    }

    function renew() {
      const target = byId("gallery-target").value;
      const asked = byId("gallery-filter").value.trim().toLowerCase();
      const key = byId("gallery-sort").value;
      const last = (value) => (value === null ? Infinity : value);
      const keys = {
        order: () => 0,
        low: (scan) => last(values(scan, target)[0]),
        high: (scan) => -(values(scan, target)[0] ?? -1),
        far: (scan) => -Math.abs(values(scan, target)[2] ?? 0),
      };
      order = [...scans.keys()].filter((number) =>
        (target === "" || target in scans[number][7]) && (asked === "" || scans[number][0].toLowerCase().includes(asked)));
      if (key === "who") {
        const collator = new Intl.Collator("en", { numeric: true });
        order.sort((a, b) => collator.compare(scans[a][0], scans[b][0]) || a - b);
      } else {
        const by = order.map((number) => [keys[key](scans[number]), number]);
        order = by.sort((a, b) => a[0] - b[0] || a[1] - b[1]).map((pair) => pair[1]);
      }
      watcher.disconnect();
      list.replaceChildren();
      shown = 0;
      grow();
    }

    targets.forEach((name, number) => byId("gallery-target").append(make("option", { value: number }, name)));
    for (const id of ["gallery-sort", "gallery-target"]) byId(id).addEventListener("change", renew);
    byId("gallery-filter").addEventListener("input", renew);
    more.addEventListener("click", () => {
      const first = shown;
      grow();
      list.children[first].tabIndex = -1;
      list.children[first].focus();
    });
    new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting) && !more.hidden && shown >= STEP * 2) grow();
    }, { rootMargin: "600px" }).observe(more);
    byId("gallery-controls").hidden = false;
    renew();
  }

  // --- viewer: nothing of it is unpacked before it is asked for ----------------------------------------------------
  function startViewer() {
    const source = byId("viewer-data");
    if (!source) return;
    const { names, colours } = JSON.parse(source.textContent);
    const sliders = ["x", "y", "z"].map((axis) => byId(`viewer-${axis}`));
    const sides = [["left", "right"], ["back", "front"], ["down", "up"]];
    let viewer = null;
    let opener = null;

    function bytes(id) {
      return Uint8Array.from(atob(byId(id).textContent), (letter) => letter.charCodeAt(0));
    }

    // the packed script has its hash in the policy of the page; nothing else would be allowed to run
    async function unpack() {
      const stream = new Blob([bytes("niivue-packed")]).stream().pipeThrough(new DecompressionStream("gzip"));
      const script = make("script", { type: "module", textContent: await new Response(stream).text() });
      document.head.append(script);
      for (let waited = 0; !globalThis.Niivue; waited += 20) {
        if (waited > 30000) throw new Error("it did not start within 30 s");
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }

    async function create() {
      if (!document.createElement("canvas").getContext("webgl2")) throw new Error("this browser has no WebGL 2");
      if (!globalThis.Niivue) await unpack();
      const made = new globalThis.Niivue({
        backColor: [0, 0, 0, 1], crosshairColor: [1, 1, 1, 0.8], crosshairWidth: 0.5, show3Dcrosshair: true, isRadiologicalConvention: false,
        dragAndDropEnabled: false, isOrientCube: false, logLevel: "error", sagittalNoseLeft: false,
      });
      await made.attachToCanvas(byId("viewer-canvas"));
      made.onLocationChange = (place) => tell(place.mm);
      return made;
    }

    function tell(mm) {
      const words = sliders.map((slider, axis) => {
        slider.value = Math.round(mm[axis]);
        const text = `${Math.abs(Math.round(mm[axis]))} mm ${sides[axis][mm[axis] < 0 ? 0 : 1]}`;
        slider.setAttribute("aria-valuetext", text);
        return text;
      });
      const labels = viewer.volumes[1];
      const structure = names[labels.getValue(...labels.mm2vox([mm[0], mm[1], mm[2]]))];
      byId("viewer-status").textContent = `${words.join(", ")} from the origin: ${structure || "nothing delineated"}.`;
    }

    function move(mm) {
      viewer.scene.crosshairPos = viewer.mm2frac(mm);
      viewer.drawScene();
      tell(mm);
    }

    // the structures that are in this case, large ones that are not filled left out
    function legend() {
      const present = [...new Set(viewer.volumes[1].img)].filter((label) => names[label]).sort((a, b) => a - b);
      byId("viewer-legend").replaceChildren(...present.map((label) =>
        make("li", {}, make("span", { className: `swatch c${(label - 1) % colours.length}` }), names[label])));
    }

    function look() {
      const views = {
        planes: viewer.sliceTypeMultiplanar, axial: viewer.sliceTypeAxial, coronal: viewer.sliceTypeCoronal,
        sagittal: viewer.sliceTypeSagittal, "3d": viewer.sliceTypeRender,
      };
      viewer.setSliceType(views[byId("viewer-view").value]);
    }

    async function open(button) {
      opener = button;
      const { case: number, who, centre } = button.dataset;
      byId("viewer").hidden = false;
      byId("viewer-who").textContent = who;
      byId("viewer-status").textContent = "The viewer is starting.";
      byId("viewer").focus();
      byId("viewer").scrollIntoView({ block: "start" });
      try {
        viewer ??= await create();
        for (const volume of [...viewer.volumes]) viewer.removeVolume(volume);
        await viewer.loadFromArrayBuffer(bytes(`case-${number}-image`).buffer, "scan.nii.gz");
        await viewer.loadFromArrayBuffer(bytes(`case-${number}-labels`).buffer, "labels.nii.gz");
        const known = Object.keys(names).map(Number);
        const channel = (index) => [0, ...known.map((label) => colours[(label - 1) % colours.length][index])];
        viewer.volumes[1].setColormapLabel({
          R: channel(0), G: channel(1), B: channel(2), A: [0, ...known.map(() => 255)], I: [0, ...known],
          labels: ["", ...known.map((label) => names[label])],
        });
        viewer.setOpacity(1, Number(byId("viewer-opacity").value) / 100);
        viewer.updateGLVolume();
        legend();
        const ends = [viewer.frac2mm([0, 0, 0]), viewer.frac2mm([1, 1, 1])];
        sliders.forEach((slider, axis) => {
          slider.min = Math.round(Math.min(ends[0][axis], ends[1][axis]));
          slider.max = Math.round(Math.max(ends[0][axis], ends[1][axis]));
        });
        look();
        move(centre.split(" ").map(Number));
      } catch (error) {
        byId("viewer-status").textContent = `The viewer cannot be shown: ${error.message}. The pictures below show the same outlines.`;
      }
    }

    for (const slider of sliders) {
      slider.addEventListener("input", () => viewer && move(sliders.map((each) => Number(each.value))));
    }
    byId("viewer-view").addEventListener("change", () => viewer && look());
    byId("viewer-opacity").addEventListener("input", (event) => viewer && viewer.setOpacity(1, event.target.value / 100));
    byId("viewer-close").addEventListener("click", () => {
      byId("viewer").hidden = true;
      opener.focus();
    });
    for (const button of document.querySelectorAll("button.open")) {
      button.hidden = false;
      button.addEventListener("click", () => open(button));
    }
  }

  // --- methods text ------------------------------------------------------------------------------------------------
  function startCopy() {
    const button = byId("methods-copy");
    button.hidden = false;
    button.addEventListener("click", async () => {
      const text = byId("methods-plain");
      text.select();
      try {
        await navigator.clipboard.writeText(text.value);
        byId("methods-status").textContent = "Copied.";
      } catch {
        byId("methods-status").textContent = "Selected; copy it with the keys of your system.";
      }
    });
  }

  startGallery();
  startViewer();
  startCopy();
})();
