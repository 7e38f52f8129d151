// What the CNI plugin uses of Bun, on Node: the image has no room for both.
import { readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';

type Socket = { write(data: string | Uint8Array): number };

type Handlers = {
  open(socket: Socket): void;
  drain(socket: Socket): void;
  data(socket: Socket, bytes: Buffer): void;
  close(socket: Socket): void;
  error(socket: Socket, error: Error): void;
  connectError(socket: Socket, error: Error): void;
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
  connect: async ({ unix, socket: handlers }: { unix: string; socket: Handlers }): Promise<void> => {
    const node = connect(unix);
    // Node keeps what does not fit, so everything counts as written.
    const socket: Socket = {
      write: (data) => {
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
  },
};
