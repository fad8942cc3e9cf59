"""What moves in a page: as it loads, and as a slider of a widget is dragged."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator

RECORD_SHIFTS = """
    window.shifts = [];
    new PerformanceObserver((list) => {
        for (const { value, sources } of list.getEntries()) {
            const moved = sources.map(({ node, previousRect, currentRect }) => [
                (node?.outerHTML ?? node?.textContent ?? "").slice(0, 100),
                previousRect.y, currentRect.y,
            ]);
            shifts.push({ value, moved });
        }
    }).observe({ type: "layout-shift", buffered: true });
"""
"""A script for a page: every layout shift, also one right after the reader did something."""

# Everything that a reader looks at or takes hold of, where it stands in the widget.
_DRAG = """async (widget, steps) => {
    const parts = ".ins-control, .ins-buttons, .ins-legend, .ins-chart-box, .ins-facts, .ins-runs,"
        + " .ins-message, .ins-note, .ins-colorbar, .ins-scroll, .ins-panel-title";
    const boxes = () => {
        const { x, y, height } = widget.getBoundingClientRect();
        return [["the widget", [height]], ...[...widget.querySelectorAll(parts)]
            .filter((part) => part.getClientRects().length)
            .map((part) => {
                const box = part.getBoundingClientRect();
                return [part.className, [box.x - x, box.y - y, box.width, box.height]];
            })];
    };
    const settled = async () => {
        for (let frame = 0; frame < 2; frame += 1) await new Promise(requestAnimationFrame);
        // Networks are drawn elsewhere, and their picture follows.
        const { asked, drawn } = widget.querySelector(".ins-view").dataset;
        if (asked !== drawn) return settled();
    };
    // The rest of a long page is laid out anew with every step: it is left out.
    const rest = [];
    for (let part = widget; !part.matches("article, body"); part = part.parentElement) {
        rest.push(...[...part.parentElement.children].filter((other) => other !== part));
    }
    const displays = rest.map((part) => part.style.display);
    for (const part of rest) part.style.display = "none";
    for (const fold of widget.querySelectorAll("details")) fold.open = true;
    await settled();
    const found = [];
    for (const slider of widget.querySelectorAll("input[type=range]:enabled")) {
        const name = slider.closest("label").querySelector(".ins-label").textContent;
        const [before, min, max] = [slider.value, Number(slider.min), Number(slider.max)];
        const to = async (value) => {
            slider.value = value;
            slider.dispatchEvent(new Event("input", { bubbles: true }));
            await settled();
        };
        await to(min);
        const start = boxes();
        for (let k = 1; k <= steps && slider.isConnected; k += 1) {
            await to(min + ((max - min) * k) / steps);
            boxes().forEach(([part, now], i) => {
                const [known, was] = start[i] ?? ["nothing", []];
                const near = (length, j) => Math.abs(length - was[j]) < 1.5;
                const same = known === part && now.every(near);
                if (!same) found.push(`${name} at ${slider.value}: ${part} ${was} -> ${now}`);
            });
        }
        await to(before);
    }
    for (const fold of widget.querySelectorAll("details")) fold.open = false;
    rest.forEach((part, k) => { part.style.display = displays[k]; });
    return found;
}"""


def moved_by_dragging(widget: Locator, steps: int = 8) -> list[Any]:
    """Drag each slider of a widget over its whole range; say what does not keep its place."""
    found: list[Any] = widget.evaluate(_DRAG, steps)
    return found
