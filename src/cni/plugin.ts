// The executable container runtimes run, compiled by Bun (scripts/build-shim). It carries environment and stdin to the
// agent and its answer back. Every import costs start-up time on every call, so what only matters while the agent is
// away is loaded then.
import { askAgent } from './ask-agent.ts';

/** The part of Bun used here; @types/bun would bring its own idea of the Node types. */
declare const Bun: {
  readonly stdin: { text(): Promise<string> };
  readonly stdout: unknown;
  readonly stderr: unknown;
  write(file: unknown, text: string): Promise<number>;
};

/** Milliseconds a runtime is kept waiting for the agent. Runtimes themselves give up after one minute or more. */
const PATIENCE: Readonly<Record<string, number>> = { ADD: 30_000, DEL: 10_000, STATUS: 3_000 };
const DEFAULT_PATIENCE = 20_000;

/** By name: to go through the whole environment would make the runtime turn all of it into strings. */
const VARIABLES = ['CNI_COMMAND', 'CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_ARGS', 'CNI_PATH'];

void main().then((status) => process.exit(status));

async function main(): Promise<number> {
  const command = process.env.CNI_COMMAND;
  if (!command || command === 'VERSION') return answer(null, '');
  const stdin = await Bun.stdin.text();
  const env: Record<string, string> = {};
  for (const name of VARIABLES) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  try {
    const line = JSON.stringify({ op: 'cni', env, stdin });
    const reply = await askAgent(socketOf(stdin), line, PATIENCE[command] ?? DEFAULT_PATIENCE);
    if (reply.stdout) await Bun.write(Bun.stdout, reply.stdout);
    return reply.exit;
  } catch (error) {
    return answer(error, stdin);
  }
}

async function answer(error: unknown, stdin: string): Promise<number> {
  const { answerAlone } = await import('./answer-alone.ts');
  const reply = answerAlone(process.env, stdin, error);
  if (reply.stderr) await Bun.write(Bun.stderr, reply.stderr);
  if (reply.stdout) await Bun.write(Bun.stdout, reply.stdout);
  return reply.exit;
}

/** Our own keys are read with their exact spelling: only we write them. */
function socketOf(stdin: string): string {
  try {
    const conf = JSON.parse(stdin);
    const path: unknown = conf.socket ?? conf.ipam?.socket;
    if (typeof path === 'string' && path) return path;
  } catch {
    // The agent, or answerAlone, says what is wrong with it.
  }
  return '/run/flatnet/agent.sock';
}
