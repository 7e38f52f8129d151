import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { FlatnetError } from '../../error.ts';
import { withNetns } from '../netns.ts';
import { memfdCreate } from '../sys.ts';

export type RulesetOptions = {
  /** A path or a descriptor of a network namespace; by default our own. */
  readonly netns?: string | number | undefined;
  /** Kills `nft`. The transaction may or may not have been committed. */
  readonly signal?: AbortSignal | undefined;
};

/**
 * Like `nft -f FILE`: applies all of the text in one transaction, or none of it. Throws NFTABLES with nft's
 * message.
 */
export async function applyRuleset(text: string, options: RulesetOptions = {}): Promise<void> {
  // An in-memory file: nft opens its input by path, and Node's pipes are sockets, which cannot be opened.
  const file = memfdCreate('ruleset');
  try {
    fs.writeFileSync(file, text);
    await runNft(file, options);
  } finally {
    fs.closeSync(file);
  }
}

function runNft(file: number, { netns, signal }: RulesetOptions): Promise<void> {
  const start = () => {
    const child = spawn('nft', ['-f', FILE_IN_CHILD], {
      stdio: ['ignore', 'ignore', 'pipe', file],
      env: { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` },
      ...(signal && { signal }),
    });
    return { child };
  };
  const { child } = netns === undefined ? start() : withNetns(netns, start);
  return new Promise((resolve, reject) => {
    const stderr: Buffer[] = [];
    child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.on('error', (cause) => reject(notStarted(cause)));
    child.on('close', (status) => {
      if (status === 0) resolve();
      else reject(refused(Buffer.concat(stderr).toString()));
    });
  });
}

const FILE_IN_CHILD = '/dev/fd/3';

function refused(stderr: string): FlatnetError {
  const text = stderr.replaceAll(`${FILE_IN_CHILD}:`, 'line ').trim();
  return new FlatnetError(text || 'nft failed without a message', {
    code: 'NFTABLES',
    operation: 'nft -f',
  });
}

function notStarted(cause: Error): FlatnetError {
  return new FlatnetError(cause.message, {
    code: 'NFTABLES',
    operation: 'nft -f',
    fix: 'install nftables',
    cause,
  });
}
