import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { type TestContext, test } from 'node:test';
import { createNetns, deleteNetns, netnsPath } from '../../src/linux/netns.ts';

/** A test's network namespace, deleted when the test ends. */
export type Sandbox = {
  readonly name: string;
  readonly netns: string;
  /** Runs a command in it and returns what it prints. */
  readonly run: (...command: string[]) => string;
  /** The same for JSON output: the oracle for the kernel's state. */
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

/**
 * A test on the real kernel: skipped, with advice, where the requirements are not met; in CI they must be.
 */
export function kernelTest(name: string, run: (t: TestContext) => void | Promise<void>): void {
  test(name, { skip: process.env.CI ? false : whyNot(), timeout: 60_000 }, run);
}

const PROGRAMS = { ip: 'iproute2', bridge: 'iproute2', nft: 'nftables', ping: 'iputils-ping' };

function whyNot(): string | false {
  if (process.geteuid?.() !== 0) return 'needs root';
  const directories = ['/bin', '/sbin', '/usr/bin', '/usr/sbin'];
  for (const [program, debianPackage] of Object.entries(PROGRAMS)) {
    if (!directories.some((directory) => fs.existsSync(`${directory}/${program}`))) {
      return `needs ${program}: apt-get install ${debianPackage}`;
    }
  }
  return false;
}
