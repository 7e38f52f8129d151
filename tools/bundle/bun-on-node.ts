// What the CNI plugin uses of Bun, on Node: the image has no room for both.
import { readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import type { Connect } from '../../src/cni/shim/ask-agent.ts';

const connectTo: Connect = async ({ unix, socket: handlers }) => {
  const node = connect(unix);
  // Node keeps what does not fit, so everything counts as written.
  const socket = {
    write: (data: string | Uint8Array): number => {
      node.write(data);
      return Buffer.byteLength(data);
    },
  };
  let isOpen = false;
  node.on('connect', () => {
    isOpen = true;
    handlers.open(socket);
  });
  node.on('data', (bytes: Buffer) => handlers.data(socket, bytes));
  node.on('close', () => handlers.close(socket));
  node.on('error', (error) => (isOpen ? handlers.error : handlers.connectError)(socket, error));
};

export const Bun = {
  stdin: { text: async (): Promise<string> => readFileSync(0, 'utf8') },
  stdout: 1,
  stderr: 2,
  file: (path: string) => ({ text: () => readFile(path, 'utf8') }),
  write: async (descriptor: number, text: string): Promise<number> => {
    writeFileSync(descriptor, text);
    return Buffer.byteLength(text);
  },
  connect: connectTo,
};
