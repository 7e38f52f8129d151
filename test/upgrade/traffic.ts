import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/** Seconds between two packets. Fifteen pings and a stream would keep an emulated machine busy. */
const INTERVAL = process.env.FLATNET_EMULATED ? 0.1 : 0.01;

/** A ping that runs until it is stopped. */
export class Ping {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #seen = new Set<number>();
  #output = '';

  constructor(netns: string, from: string, to: string, address: string) {
    this.name = `${from} -> ${to}`;
    this.#child = spawn('ip', ['netns', 'exec', netns, 'ping', '-n', '-i', `${INTERVAL}`, address], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#read(text));
  }

  /** Packets answered so far. */
  get received(): number {
    return this.#seen.size;
  }

  /** Unanswered sequence numbers, as ranges. Packets still in flight do not count. */
  get lost(): string[] {
    const ranges: string[] = [];
    for (let seq = 1; seq < Math.max(0, ...this.#seen); seq++) {
      if (this.#seen.has(seq)) continue;
      const first = seq;
      while (!this.#seen.has(seq + 1)) seq++;
      ranges.push(first === seq ? `${first}` : `${first}–${seq}`);
    }
    return ranges;
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGINT');
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'close');
  }

  #read(text: string): void {
    const lines = (this.#output + text).split('\n');
    this.#output = lines.pop() ?? '';
    for (const line of lines) {
      const seq = /bytes from .* icmp_seq=(\d+) /.exec(line)?.[1];
      if (seq) this.#seen.add(Number(seq));
    }
  }
}

const SERVER = `require('net').createServer((s) => s.pipe(s)).listen(7000, () => console.log('ready'))`;
const CLIENT = `
  const s = require('net').connect(7000, process.argv[1]);
  let sent = 0, back = '', longest = 0, last = performance.now();
  const timer = setInterval(() => s.write(sent++ + '\\n'), ${INTERVAL * 1000});
  s.on('data', (d) => { back += d; longest = Math.max(longest, performance.now() - last); last = performance.now(); });
  s.on('close', () => { console.log(JSON.stringify({ sent, back: back.split('\\n').length - 1, longest })); process.exit(); });
  process.on('SIGTERM', () => { clearInterval(timer); s.end(); });
`;

/** A TCP connection over which a line is sent and echoed at each interval. */
export class Stream {
  readonly #server: ChildProcess;
  readonly #client: ChildProcess;
  #result = '';

  private constructor(server: ChildProcess, client: ChildProcess) {
    this.#server = server;
    this.#client = client;
    client.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#result += text;
    });
  }

  static async open(from: string, to: string, address: string): Promise<Stream> {
    const server = inside(to, SERVER);
    if (server.stdout) await once(server.stdout, 'data');
    return new Stream(server, inside(from, CLIENT, address));
  }

  /** Returns the number of lines sent and echoed, and the longest silence in milliseconds. */
  async stop(): Promise<{ readonly sent: number; readonly back: number; readonly longest: number }> {
    const closed = once(this.#client, 'close');
    this.#client.kill('SIGTERM');
    await closed;
    this.#server.kill();
    return JSON.parse(this.#result);
  }
}

function inside(netns: string, script: string, ...args: string[]): ChildProcess {
  return spawn('ip', ['netns', 'exec', netns, process.execPath, '-e', script, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}
