import type { Server } from 'node:http';
import { background } from '../async/background.ts';
import { untilDone } from '../async/until-done.ts';
import { FlatnetError, messageOf } from '../error.ts';
import type { Log } from '../log.ts';
import { metricsText } from './metrics.ts';
import type { HealthAddress } from './options.ts';
import type { AgentStatus } from './status.ts';

// Importing the module would load undici too: 6 MB.
const { createServer } = process.getBuiltinModule('node:http');

export type HealthSources = {
  /** Why this node takes no pods; undefined if it does. */
  readonly notReady: () => string | undefined;
  readonly status: () => Promise<AgentStatus>;
};

type Answer = { readonly code: number; readonly text: string };

/**
 * Tells the kubelet and Prometheus how this agent is, over HTTP. `/healthz`: it runs and answers; nothing
 * else, as a restart would mend nothing else. `/readyz`: the node takes pods, or 503 with the reason.
 * `/metrics`: see `metricsText`.
 */
export class HealthServer implements AsyncDisposable {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Throws IO if the address is taken, or none of this node's. */
  static async listen({ ip, port }: HealthAddress, sources: HealthSources): Promise<HealthServer> {
    const server = createServer({ headersTimeout: 5000, requestTimeout: 5000 }, (request, response) => {
      const send = ({ code, text }: Answer): void => {
        response.writeHead(code, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' });
        response.end(text);
      };
      const { method = '', url = '' } = request;
      const path = url.split('?')[0] ?? '';
      const wrongMethod = { code: 405, text: 'only GET and HEAD\n' };
      const answer = ['GET', 'HEAD'].includes(method)
        ? answerTo(path, sources)
        : Promise.resolve(wrongMethod);
      answer.then(send, (error: unknown) => send({ code: 500, text: `${messageOf(error)}\n` }));
    });
    server.maxConnections = 64;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => {
        const parts = { code: 'IO', operation: 'listen on', object: `${ip}:${port}`, cause } as const;
        reject(new FlatnetError(messageOf(cause), parts));
      });
      server.listen(port, ip, resolve);
    });
    return new HealthServer(server);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  /** The port, for tests that let the kernel choose it. */
  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address ? address.port : 0;
  }
}

/** Serves at `address`, if any, as soon as that is free: a taken port keeps no agent from its work. */
export function serveHealth(
  address: HealthAddress | undefined,
  sources: HealthSources,
  log: Log,
  signal: AbortSignal,
): AsyncDisposable {
  const stack = new AsyncDisposableStack();
  if (!address) return stack;
  const what = 'serve health and metrics';
  const serve = async () => void stack.use(await HealthServer.listen(address, sources));
  background(what, untilDone(what, serve, { signal, log }), log, signal);
  return stack;
}

async function answerTo(path: string, { notReady, status }: HealthSources): Promise<Answer> {
  if (path === '/healthz') return { code: 200, text: 'flatnet is running\n' };
  if (path === '/readyz') {
    const reason = notReady();
    if (reason === undefined) return { code: 200, text: 'flatnet is ready\n' };
    return { code: 503, text: `flatnet is not ready: ${reason}\n` };
  }
  if (path !== '/metrics') return { code: 404, text: 'try /healthz, /readyz or /metrics\n' };
  const { user, system } = process.cpuUsage();
  const figures = {
    memory: process.memoryUsage.rss(),
    cpu: (user + system) / 1e6,
    startTime: Math.round(performance.timeOrigin / 1000),
  };
  return { code: 200, text: metricsText(await status(), figures) };
}
