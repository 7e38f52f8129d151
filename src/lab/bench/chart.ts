import type { Measured } from './bench.ts';

/** Pixels. */
const WIDTH = 760;
const LABELS = 110;
const FIGURES = 70;
const PANEL_GAP = 24;
const BAR = 14;
const STEP = 22;
const HEAD = 44;

type Panel = {
  readonly title: string;
  readonly value: (measured: Measured) => number;
  readonly colour: string;
};

const PANELS: readonly Panel[] = [
  {
    title: 'throughput, of node to node (longer is better)',
    value: ({ pods, nodes }) => pods.throughput / nodes.throughput,
    colour: '#2f7ed8',
  },
  {
    title: 'round trip, of node to node (shorter is better)',
    value: ({ pods, nodes }) => pods.roundTrip / nodes.roundTrip,
    colour: '#8a6d3b',
  },
  {
    title: 'processor time per gigabit, of node to node (shorter is better)',
    value: ({ pods, nodes }) => pods.processor / nodes.processor,
    colour: '#5a9367',
  },
];

/** Bars for each scheme as an SVG document: ratios to node to node, which has the value 1. */
export function chart(results: readonly Measured[]): string {
  const height = HEAD + results.length * STEP + PANEL_GAP;
  const panels = PANELS.map((panel, i) => panelOf(panel, results, i * height));
  const total = PANELS.length * height;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${total}" width="${WIDTH}" height="${total}" font-family="sans-serif" font-size="12">
<title>Ways to carry packets, compared with node to node</title>
<rect width="100%" height="100%" fill="#fff"/>
${panels.join('\n')}
</svg>
`;
}

function panelOf({ title, value, colour }: Panel, results: readonly Measured[], top: number): string {
  const most = Math.max(1, ...results.map(value));
  const scale = (WIDTH - LABELS - FIGURES) / most;
  const bars = results.map((each, i) => {
    const y = top + HEAD + i * STEP;
    const width = scale * value(each);
    return `<text x="${LABELS - 8}" y="${y + 11}" text-anchor="end">${each.scheme}</text>
<rect x="${LABELS}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" fill="${colour}"/>
<text x="${(LABELS + width + 6).toFixed(1)}" y="${y + 11}" fill="#333">${value(each).toFixed(2)}</text>`;
  });
  const line = (LABELS + scale).toFixed(1);
  const bottom = top + HEAD + results.length * STEP;
  return `<text x="${LABELS}" y="${top + 24}" font-weight="bold">${title}</text>
${bars.join('\n')}
<line x1="${line}" y1="${top + HEAD - 8}" x2="${line}" y2="${bottom}" stroke="#999" stroke-dasharray="3 3"/>`;
}
