/** One line of a reply on BIRD's control socket: its code (doc/reply_codes) and text. */
export type ReplyLine = { readonly code: number; readonly text: string };

/** All lines of a reply; `code` is that of the last line. */
export type Reply = { readonly code: number; readonly lines: readonly ReplyLine[] };

/**
 * Splits BIRD's output into replies. `1234-text`: more follows; `1234 text`: the last line; ` text`:
 * continues under the previous code; `+text`: a log message that belongs to no reply.
 */
export class ReplyReader {
  #rest = '';
  #lines: ReplyLine[] = [];

  push(chunk: string): Reply[] {
    const lines = (this.#rest + chunk).split('\n');
    this.#rest = lines.pop() ?? '';
    return lines.flatMap((line) => this.#take(line) ?? []);
  }

  #take(line: string): Reply | undefined {
    if (line.startsWith('+')) return undefined;
    const head = /^(\d{4})([ -])(.*)$/.exec(line);
    if (!head) {
      const code = this.#lines.at(-1)?.code ?? 0;
      this.#lines.push({ code, text: line.replace(/^ /, '') });
      return undefined;
    }
    const code = Number(head[1]);
    this.#lines.push({ code, text: head[3] ?? '' });
    if (head[2] === '-') return undefined;
    const lines = this.#lines;
    this.#lines = [];
    return { code, lines };
  }
}
