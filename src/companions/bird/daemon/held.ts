import { connect } from 'node:net';
import { codeOf, FlatnetError, messageOf } from '../../../error.ts';
import type { BirdFiles } from './files.ts';
import type { BirdHost } from './host.ts';
import type { Listener } from './others.ts';

/** Milliseconds for an answer. */
const TIMEOUT = 5000;

/**
 * A BIRD in a container of its own, where tools/holder/bird-holder.c runs it: it outlives the agent's
 * container, whose processes see none of it but its sockets.
 */
export class HeldBird implements BirdHost {
  readonly #files: BirdFiles;
  readonly #socket: string;

  constructor(files: BirdFiles, socket: string) {
    this.#files = files;
    this.#socket = socket;
  }

  /** Without its holder, BIRD does not run. */
  async runs(): Promise<boolean> {
    return (await this.#stateAfter('state')) === 'runs';
  }

  async start(args: readonly string[]): Promise<void> {
    const answer = await this.#ask('start', this.#files.stderr, ...args);
    if (answer !== 'runs') throw this.#error(answer || 'no answer');
  }

  async kill(): Promise<void> {
    await this.#stateAfter('kill');
  }

  async endOthers(): Promise<boolean> {
    return false;
  }

  otherListeners(): readonly Listener[] {
    return [];
  }

  async nextVersion(): Promise<undefined> {
    return undefined;
  }

  /** Only the holder's own words say how BIRD is: it answers nothing to a request that came too slowly. */
  async #stateAfter(request: string): Promise<'runs' | 'ended'> {
    let answer: string;
    try {
      answer = await this.#ask(request);
    } catch (error) {
      if (error instanceof FlatnetError && ['ENOENT', 'ECONNREFUSED'].includes(error.errno ?? ''))
        return 'ended';
      throw error;
    }
    if (answer === 'runs' || answer === 'ended') return answer;
    throw this.#error(answer || 'no answer');
  }

  #ask(...words: readonly string[]): Promise<string> {
    return new Promise((resolve, reject) => {
      let text = '';
      const socket = connect(this.#socket, () => socket.end(words.map((word) => `${word}\0`).join('')));
      socket.setEncoding('utf8');
      socket.setTimeout(TIMEOUT, () => socket.destroy(new Error(`no answer within ${TIMEOUT} ms`)));
      socket.on('data', (chunk: string) => {
        text += chunk;
      });
      socket.on('end', () => resolve(text));
      socket.on('error', (cause) => reject(this.#error(messageOf(cause), cause)));
    });
  }

  #error(text: string, cause?: unknown): FlatnetError {
    const errno = codeOf(cause);
    return new FlatnetError(text, {
      code: 'BIRD',
      operation: 'ask the container of BIRD',
      object: this.#socket,
      fix: 'check that a pod of the DaemonSet kube-flatnet-bird runs on this node',
      ...(errno !== undefined && { errno }),
      ...(cause !== undefined && { cause }),
    });
  }
}
