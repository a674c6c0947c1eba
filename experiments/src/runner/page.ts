import { escapeXml as escape, style } from '../pictures/style.ts';

/** An HTML page in the look of the pictures; style inside, no script, nothing from the network. */
export function page(title: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)}</title>
<style>
:root { color: ${style.ink}; background: ${style.paper}; font: 15px/1.5 "${style.font}", system-ui, sans-serif; }
body { max-width: 68rem; margin: 3rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0.2rem 0; }
h2 { font-size: 1.1rem; margin: 2.6rem 0 0.8rem; padding-bottom: 0.3rem; border-bottom: 1px solid ${style.line}; }
.soft { color: ${style.soft}; font-size: 0.85rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.88rem; }
th, td { text-align: left; vertical-align: top; padding: 0.55rem 0.9rem 0.55rem 0; border-bottom: 1px solid ${style.faint}; }
thead th { color: ${style.soft}; font-weight: normal; border-bottom-color: ${style.line}; white-space: nowrap; }
.number { font-variant-numeric: tabular-nums; }
table.keys th { color: ${style.soft}; font-weight: normal; width: 16rem; }
table.keys td { font-family: "DejaVu Sans Mono", ui-monospace, monospace; font-size: 0.82rem; overflow-wrap: anywhere; }
.verdict { white-space: nowrap; font-weight: bold; }
.yes { color: ${style.series[2]}; } .no { color: ${style.series[1]}; } .open { color: ${style.soft}; }
figure { margin: 1rem 0 1.6rem; } figure.half { display: inline-block; margin: 0 1rem 1rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption { color: ${style.soft}; font-size: 0.85rem; margin-top: 0.3rem; }
details { margin: 0 0 1.6rem; } td details { margin: 0; } .wide { overflow-x: auto; } summary { color: ${style.soft}; cursor: pointer; font-size: 0.85rem; }
</style>
</head>
<body>
${body}
</body>
</html>
`;
}
