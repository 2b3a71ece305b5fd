"""A script for a browser: texts of drawings that leave their drawing or lie on one another."""

FAULTS = """() => [...document.querySelectorAll(".drawing")].filter(d => d.getClientRects().length)
    .flatMap(drawing => {
        const frame = drawing.getBoundingClientRect();
        const texts = [...drawing.querySelectorAll("text")].filter(t => t.textContent)
            .map(t => [t.textContent, t.getBoundingClientRect()]);
        const outside = ([, b]) => b.left < frame.left - 2 || b.right > frame.right + 2;
        const meet = (p, q) => p.left < q.right - 1 && q.left < p.right - 1
            && p.top < q.bottom - 4 && q.top < p.bottom - 4;
        const clashes = texts.flatMap(([a, p], i) => texts.slice(i + 1)
            .filter(([, q]) => meet(p, q)).map(([b]) => `${a} / ${b}`));
        return [...texts.filter(outside).map(([text]) => `outside: ${text}`), ...clashes];
    })"""
