import type { IncomingMessage } from 'node:http';
import { FlatnetError, messageOf } from '../../error.ts';
import { asJson, type Json } from './gateway.ts';

type WatchSource = {
  /** Sends the request; resolves with the response whose body is the stream. */
  readonly open: () => Promise<IncomingMessage>;
  /** Milliseconds of silence before `isCurrent` is called. */
  readonly idle: number;
  /**
   * Checks over another connection whether this stream is up to date; throws when the store does not answer.
   */
  readonly isCurrent: () => Promise<boolean>;
  readonly signal: AbortSignal;
};

/**
 * Yields the `result` objects of a watch, one JSON document per line. Ends quietly when `signal` aborts. A
 * stream that ends, breaks, carries an error, or stays silent despite changes throws STORE_UNAVAILABLE.
 */
export async function* readWatch({ open, idle, isCurrent, signal }: WatchSource): AsyncIterable<Json> {
  if (signal.aborted) return;
  const response = await open();
  const stop = (): void => void response.destroy();
  signal.addEventListener('abort', stop, { once: true });
  const guard = guardSilence(response, idle, isCurrent);
  try {
    if (signal.aborted) return;
    for await (const line of lines(response)) {
      guard.heard();
      const { result, error } = asJson(JSON.parse(line));
      if (error) throw new Error(String(asJson(error).message));
      yield asJson(result);
    }
    throw new Error('the server ended the stream');
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof FlatnetError) throw error;
    throw new FlatnetError(messageOf(error), {
      code: 'STORE_UNAVAILABLE',
      operation: 'store watch',
      cause: error,
    });
  } finally {
    guard.stop();
    signal.removeEventListener('abort', stop);
    response.destroy();
  }
}

/**
 * Detects streams that die silently: the server hangs, or a proxy drops the connection. After `idle`
 * milliseconds of silence, queries the store. If the store does not answer, or has unreported changes for the
 * second time in a row, closes the stream.
 */
function guardSilence(response: IncomingMessage, idle: number, isCurrent: () => Promise<boolean>) {
  let behind = false;
  const check = async (): Promise<void> => {
    try {
      const current = await isCurrent();
      if (!current && behind) throw new Error('the stream is silent although the store has changes');
      behind = !current;
      timer.refresh();
    } catch (error) {
      response.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  };
  const timer = setTimeout(() => void check(), idle);
  return {
    heard(): void {
      behind = false;
      timer.refresh();
    },
    stop: (): void => clearTimeout(timer),
  };
}

async function* lines(response: IncomingMessage): AsyncIterable<string> {
  const parts: string[] = [];
  response.setEncoding('utf8');
  for await (const chunk of response as AsyncIterable<string>) {
    let start = 0;
    for (let end = chunk.indexOf('\n'); end >= 0; end = chunk.indexOf('\n', start)) {
      parts.push(chunk.slice(start, end));
      const line = parts.splice(0).join('');
      if (line) yield line;
      start = end + 1;
    }
    parts.push(chunk.slice(start));
  }
}
