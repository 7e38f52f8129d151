import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Ip } from '../../../src/ip/address.ts';
import { eventually } from '../../store/servers.ts';

/** Milliseconds; an emulated machine takes half a minute to start a program. */
const PATIENCE = process.env.FLATNET_EMULATED ? 200_000 : 20_000;
const PROGRAM = join(import.meta.dirname, 'talker.ts');

/** A process in a network namespace that speaks all the time, and tells what it hears. */
export class Talker {
  readonly #child: ChildProcess;
  #output = '';

  constructor(t: Pick<TestContext, 'after'>, netns: string, ...args: readonly string[]) {
    const node = [process.execPath, '--disable-warning=ExperimentalWarning', PROGRAM];
    this.#child = spawn('ip', ['netns', 'exec', netns, ...node, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text;
    });
    t.after(() => this.stop());
  }

  /** Starts a server, and waits until it serves. */
  static async serve(
    t: Pick<TestContext, 'after'>,
    netns: string,
    ...args: readonly string[]
  ): Promise<Talker> {
    const server = new Talker(t, netns, 'serve', ...args);
    await eventually(() => server.#output.includes('serving'), PATIENCE);
    return server;
  }

  /** How often it has heard something. */
  get heard(): number {
    return this.#output.split('heard').length - 1;
  }

  /** Why it ended, for a client; undefined if it did not. */
  get ended(): string | undefined {
    return /ended (.*)/.exec(this.#output)?.[1];
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}

/** A client and a server that both speak all the time. */
export class Conversation {
  readonly name: string;
  readonly client: Talker;
  readonly server: Talker;

  private constructor(name: string, client: Talker, server: Talker) {
    this.name = name;
    this.client = client;
    this.server = server;
  }

  /** `as`: the address and port that the client uses, where they are translated. */
  static async start(
    t: Pick<TestContext, 'after'>,
    protocol: 'tcp' | 'udp',
    from: { readonly netns: string },
    to: { readonly netns: string; readonly ip: Ip; readonly port: number },
    as: { readonly ip: Ip; readonly port: number } = to,
  ): Promise<Conversation> {
    const server = await Talker.serve(t, to.netns, protocol, to.ip, `${to.port}`);
    const client = new Talker(t, from.netns, 'talk', protocol, as.ip, `${as.port}`);
    const name = `${protocol} ${from.netns} to ${as.ip} port ${as.port}`;
    const conversation = new Conversation(name, client, server);
    const isUp = (): boolean => client.heard > 3 && server.heard > 3;
    await eventually(isUp, PATIENCE).catch(() => {
      throw new Error(`${name}: ${conversation.heard}, ${client.ended}`);
    });
    return conversation;
  }

  /** What both have heard. */
  get heard(): readonly [client: number, server: number] {
    return [this.client.heard, this.server.heard];
  }

  /** Waits until both have heard more. */
  async goesOn(): Promise<void> {
    const [client, server] = this.heard;
    await eventually(() => this.client.heard > client + 5 && this.server.heard > server + 5, PATIENCE);
  }
}
