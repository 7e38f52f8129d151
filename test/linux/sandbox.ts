import { execFileSync } from 'node:child_process';
import type { TestContext } from 'node:test';
import { createNetns, deleteNetns, netnsPath } from '../../src/linux/netns.ts';

/** A network namespace of one test, gone when the test ends. */
export type Sandbox = {
  readonly name: string;
  readonly netns: string;
  /** Runs a command in it and returns what it prints. */
  readonly run: (...command: string[]) => string;
  /** The same with JSON: the oracle for what the kernel holds. */
  readonly json: (...command: string[]) => Record<string, unknown>[];
};

let count = 0;

export function sandbox(t: TestContext): Sandbox {
  const name = `linux-${process.pid}-${count++}`;
  createNetns(name);
  t.after(() => deleteNetns(name));
  const run = (...command: string[]): string =>
    execFileSync('ip', ['netns', 'exec', name, ...command], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  const json = (...command: string[]): Record<string, unknown>[] => {
    const parsed: unknown = JSON.parse(run(...command) || '[]');
    return Array.isArray(parsed) ? parsed : [];
  };
  return { name, netns: netnsPath(name), run, json };
}
