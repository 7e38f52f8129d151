import { CommanderError } from 'commander';
import { type ErrorCode, FlatnetError, messageOf } from '../../error.ts';
import { coloured, paint, render } from './output.ts';

export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

/** Errors in the request itself: nothing was done. */
const USAGE: readonly ErrorCode[] = ['CONFIG_INVALID', 'MANIFEST_INVALID', 'NAME_INVALID', 'USAGE'];

/** Thrown by a command whose output already describes the problem: only sets the exit status. */
export class Exit extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`exit status ${status}`);
    this.status = status;
  }
}

/** Reports an error on standard error, as text or with `json` as JSON; returns the exit status. */
export function fail(error: unknown, json: boolean): number {
  if (error instanceof Exit) return error.status;
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return EXIT.ok;
    // Without a command, the help has been printed and says it all.
    if (error.code === 'commander.help') return EXIT.usage;
    return fail(usage(error), json);
  }
  if (json) {
    const parts = error instanceof FlatnetError ? error : { code: 'INTERNAL', message: messageOf(error) };
    process.stderr.write(`${JSON.stringify({ error: parts })}\n`);
  } else {
    const mark = render(paint('red', 'flatnet:'), coloured(process.stderr));
    process.stderr.write(`${mark} ${messageOf(error)}\n`);
  }
  if (!(error instanceof FlatnetError) && process.env.FLATNET_DEBUG) console.error(error);
  return error instanceof FlatnetError && USAGE.includes(error.code) ? EXIT.usage : EXIT.failed;
}

/** Commander's message in our form; its suggestion is on a separate line. */
function usage(error: CommanderError): FlatnetError {
  const [text = '', ...proposal] = error.message.replace(/^error: /, '').split('\n');
  const fix =
    proposal.join(' ').replace(/^\(Did (.*)\)$/, 'did $1') ||
    (error.code === 'commander.unknownCommand' ? 'add --help to list the commands' : '');
  return new FlatnetError(text, { code: 'USAGE', cause: error, ...(fix && { fix }) });
}
