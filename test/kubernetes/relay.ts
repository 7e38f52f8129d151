import { once } from 'node:events';
import net from 'node:net';

/** Passes TCP connections on to a port of loopback, and makes their lives hard. */
export class Relay {
  /** Milliseconds by which what the server says arrives late. */
  delay = 0;
  /** Bytes that the server has sent. */
  received = 0;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();

  private constructor(port: number) {
    this.#server = net.createServer((client) => this.#pass(client, net.connect(port, '127.0.0.1')));
  }

  static async start(port: number): Promise<Relay> {
    const relay = new Relay(port);
    relay.#server.listen(0, '127.0.0.1');
    await once(relay.#server, 'listening');
    return relay;
  }

  get url(): string {
    const address = this.#server.address();
    if (typeof address !== 'object' || !address) throw new Error('the relay is closed');
    return `https://127.0.0.1:${address.port}`;
  }

  get connections(): number {
    return this.#sockets.size / 2;
  }

  /** Cuts all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** From now on, nothing passes on the connections that stand; nobody is told. */
  stall(): void {
    for (const socket of this.#sockets) {
      socket.removeAllListeners('data');
      socket.pause();
    }
  }

  close(): void {
    this.cut();
    this.#server.close();
  }

  #pass(client: net.Socket, server: net.Socket): void {
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(from);
      from.on('data', (data) => {
        if (from === server) this.received += data.length;
        const write = (): void => void (to.destroyed || to.write(data));
        if (from === server && this.delay > 0) setTimeout(write, this.delay);
        else write();
      });
      from.on('error', () => {});
      from.on('close', () => {
        this.#sockets.delete(from);
        setTimeout(() => to.destroy(), this.delay);
      });
    }
  }
}
