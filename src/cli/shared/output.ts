import { styleText } from 'node:util';

/** A value in a table. */
export type Cell = string | { readonly text: string; readonly style: Style };
export type Style = 'green' | 'red' | 'yellow' | 'dim' | 'bold';

/** Whether to use colour: only at a terminal, and not if NO_COLOR is set (no-color.org). */
export function coloured(stream: NodeJS.WriteStream = process.stdout): boolean {
  return stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
}

export function paint(style: Style, text: string): Cell {
  return { text, style };
}

/** Returns columns two spaces apart, as wide as their widest cells, the last unpadded. Empty without rows. */
export function table(
  header: readonly string[],
  rows: readonly (readonly Cell[])[],
  colour = coloured(),
): string {
  if (rows.length === 0) return '';
  const all: (readonly Cell[])[] = [header.map((title) => paint('dim', title)), ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => plain(row[column] ?? '').length)));
  const line = (row: readonly Cell[]): string =>
    header
      .map((_, column) => {
        const cell = row[column] ?? '';
        const padding = ' '.repeat((widths[column] ?? 0) - plain(cell).length);
        return render(cell, colour) + (column === header.length - 1 ? '' : padding);
      })
      .join('  ')
      .trimEnd();
  return all.map(line).join('\n');
}

/** Returns a table with ruled lines, as older tools draw them. Empty without rows. */
export function boxTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return '';
  const widths = header.map((_, column) =>
    Math.max(...[header, ...rows].map((row) => (row[column] ?? '').length)),
  );
  const rule = `+${widths.map((width) => '-'.repeat(width + 2)).join('+')}+`;
  const line = (row: readonly string[]): string =>
    `| ${widths.map((width, column) => (row[column] ?? '').padEnd(width)).join(' | ')} |`;
  return [rule, line(header), rule, ...rows.map(line), rule].join('\n');
}

export function render(cell: Cell, colour = coloured()): string {
  if (typeof cell === 'string') return cell;
  return colour ? styleText(cell.style, cell.text, { validateStream: false }) : cell.text;
}

function plain(cell: Cell): string {
  return typeof cell === 'string' ? cell : cell.text;
}

/** Prints a command's result, as JSON or as rendered by `text`. */
export function print<T>(value: T, json: boolean | undefined, text: (value: T) => string): void {
  const output = json ? JSON.stringify(value, null, 2) : text(value);
  if (output !== '') process.stdout.write(`${output}\n`);
}

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/**
 * Reports progress on standard error: at a terminal in a single line with a spinner, which is cleared at the
 * end; otherwise one line per step.
 */
export class Progress implements Disposable {
  readonly #stream = process.stderr;
  readonly #live: boolean;
  readonly #quiet: boolean;
  #text = '';
  #frame = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(quiet: boolean) {
    this.#quiet = quiet;
    this.#live = !quiet && coloured(this.#stream);
  }

  readonly say = (text: string): void => {
    if (this.#quiet || text === this.#text) return;
    this.#text = text;
    if (!this.#live) {
      this.#stream.write(`${text}\n`);
      return;
    }
    this.#timer ??= setInterval(() => this.#draw(), 80).unref();
    this.#draw();
  };

  [Symbol.dispose](): void {
    if (!this.#timer) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#stream.write('\r\x1b[K');
  }

  #draw(): void {
    const frame = FRAMES[this.#frame++ % FRAMES.length];
    this.#stream.write(`\r\x1b[K${frame} ${this.#text}`);
  }
}
