import { escapeXml as escape, style } from '../pictures/style.ts';

/** Pictures have a white ground. On a dark page charts of lines are turned dark with the hues kept, so that a method has one colour in all charts. */
const TURNED = 'filter: invert(1) hue-rotate(180deg)';

/** An HTML page in the look of the pictures, light or dark as the reader's system is; all of it in one file, nothing from the network. */
export function page(title: string, body: string, script = ''): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)}</title>
<style>
${SHEET}</style>
</head>
<body>
${body}
${script === '' ? '' : `<script>\n${script}</script>\n`}</body>
</html>
`;
}

const SHEET = `:root {
  color-scheme: light dark;
  --ink: ${style.ink}; --paper: ${style.paper}; --soft: #5f6673; --line: ${style.line}; --faint: ${style.faint};
  --link: #2b5c8a; --yes: #33703f; --no: #a84b1d;
  color: var(--ink); background: var(--paper); font: 15px/1.5 "${style.font}", system-ui, sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #dfe2e6; --paper: #14171a; --soft: #9aa2ad; --line: #3a4047; --faint: #262b30; --link: #8fbbe4; --yes: #86c795; --no: #eb9a6c; }
  .plot svg, .swatch, img.lines { ${TURNED}; }
  img.lines { mix-blend-mode: screen; }
  img:not(.lines) { background: ${style.paper}; border-radius: 4px; }
}
* { box-sizing: border-box; }
body { max-width: 72rem; margin: 2.5rem auto; padding: 0 1.25rem; }
a { color: var(--link); }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0.2rem 0; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 0.8rem; padding-bottom: 0.3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 0.95rem; margin: 0; overflow-wrap: anywhere; }
.soft { color: var(--soft); font-size: 0.85rem; }
p.soft { margin: 0.2rem 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: 0.88rem; }
th, td { text-align: left; vertical-align: top; padding: 0.55rem 0.9rem 0.55rem 0; border-bottom: 1px solid var(--faint); overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: normal; border-bottom-color: var(--line); } .claims thead th, .runs thead th { white-space: nowrap; }
.number { font-variant-numeric: tabular-nums; }
table.keys th { color: var(--soft); font-weight: normal; width: 16rem; }
table.keys td, table.differences td { font-family: "DejaVu Sans Mono", ui-monospace, monospace; font-size: 0.82rem; }
table.differences, table.verdicts { table-layout: fixed; }
td.verdict, td.when, td.bound, td.counts { white-space: nowrap; } .claims td:nth-child(2) { min-width: 16rem; }
.figures { display: flex; flex-wrap: wrap; gap: 0 2rem; align-items: flex-start; } .figures figure { max-width: 100%; }
.verdict { font-weight: bold; }
.yes { color: var(--yes); } .no { color: var(--no); } .open { color: var(--soft); }
figure { margin: 1rem 0 1.6rem; }
img { max-width: 100%; height: auto; vertical-align: top; }
figcaption { color: var(--soft); font-size: 0.85rem; margin-top: 0.3rem; }
details { margin: 0.6rem 0 1.2rem; } td details { margin: 0; } summary { cursor: pointer; } summary h2 { display: inline-block; border: 0; margin: 0.4rem 0; }
td summary { color: var(--soft); font-size: 0.85rem; }
.wide { overflow-x: auto; }
dl.words { font-size: 0.88rem; } dl.words dt { font-weight: bold; } dl.words dd { margin: 0 0 0.5rem; }
.charts, .columns.of-2 { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 0 2rem; }
.chart { margin: 0 0 1.6rem; } .plot { position: relative; touch-action: pan-y; min-height: 230px; }
.plot svg { display: block; } .plot text { font-size: 11px; fill: ${style.soft}; }
.plot .grid { stroke: ${style.line}; fill: none; } .plot .line { fill: none; stroke-width: 1.7; stroke-linejoin: round; }
.legend { margin: 0.2rem 0; font-size: 0.82rem; } .legend span { margin-right: 1rem; white-space: nowrap; }
.swatch { display: inline-block; width: 0.7rem; height: 0.7rem; border-radius: 2px; margin-right: 0.35rem; }
.values { position: absolute; top: 8px; z-index: 1; padding: 0.35rem 0.6rem; font-size: 0.78rem; line-height: 1.45; pointer-events: none; white-space: nowrap;
  background: var(--paper); border: 1px solid var(--line); border-radius: 4px; font-variant-numeric: tabular-nums; }
.values span { float: right; margin-left: 1rem; }
.slider { display: flex; flex-wrap: wrap; align-items: center; gap: 0.4rem 0.8rem; margin-bottom: 0.5rem; }
.slider input { flex: 1 1 8rem; max-width: 24rem; } .slider output { min-width: 6rem; font-variant-numeric: tabular-nums; }
#hint { position: sticky; top: 0; padding: 0.4rem 0; margin: 0; background: var(--paper); z-index: 2; }
@media (max-width: 46rem) {
  body { margin-top: 1rem; padding: 0 0.9rem; }
  h1 { font-size: 1.35rem; }
  .charts, .columns.of-2 { grid-template-columns: minmax(0, 1fr); }
  table.stack, .stack tbody, .stack tr, .stack td { display: block; width: auto; } .stack thead { display: none; }
  .claims td:nth-child(2) { min-width: 0; } .stack tr { padding: 0.7rem 0; border-bottom: 1px solid var(--line); } .stack td { padding: 0.1rem 0; border: 0; white-space: normal; }
  .columns > [data-column] { margin-bottom: 1.2rem; } .columns > [data-column]::before { content: attr(data-column); color: var(--soft); font-size: 0.85rem; }
  .stack td[data-column]:not(:empty)::before { content: attr(data-column) ": "; color: var(--soft); font: 0.8rem "${style.font}", system-ui, sans-serif; }
  table.keys th { width: 8rem; }
}
`;
