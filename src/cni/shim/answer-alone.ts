import { CniError, CODE, errorObject } from '../protocol/error.ts';
import { readCommand, readInvocation, versionOf } from '../protocol/invocation.ts';
import { CURRENT, VERSIONS } from '../protocol/version.ts';
import { noteDel } from '../records/noted-del.ts';
import { isAwayBriefly } from './absence.ts';
import { type AgentPlace, MAX_CONFIGURATION } from './agent-file.ts';

export type AloneReply = { readonly stdout: string; readonly stderr: string; readonly exit: number };

/**
 * Answers without the agent: VERSION always works; a DEL succeeds and leaves a note that the agent executes
 * later; a STATUS succeeds while the agent may be away for a moment; anything else fails with an error on
 * which runtimes retry, unless the configuration is too large to be passed to any agent.
 */
export function answerAlone(
  env: Readonly<Record<string, string | undefined>>,
  stdin: string,
  cause: unknown,
  { socket, stateDir }: { readonly [K in keyof AgentPlace]?: string | undefined },
): AloneReply {
  if (!env.CNI_COMMAND) {
    const about = `CNI flatnet plugin\nCNI protocol versions supported: ${VERSIONS.join(', ')}\n`;
    return { stdout: '', stderr: about, exit: 0 };
  }
  try {
    const command = readCommand(env);
    if (command === 'VERSION') {
      return printed({ cniVersion: CURRENT, supportedVersions: VERSIONS }, 0);
    }
    const call = readInvocation(command, env, stdin);
    if (command === 'DEL') {
      // `lo` disappears with its namespace, so there is nothing to note.
      if (call.conf.raw('type') !== 'loopback') noteDel(call, env, stdin, stateDir);
      return { stdout: '', stderr: '', exit: 0 };
    }
    const size = Buffer.byteLength(stdin);
    if (size > MAX_CONFIGURATION) {
      const text = `the network configuration is too large: ${size} bytes, limit ${MAX_CONFIGURATION}`;
      throw new CniError(CODE.INVALID_CONFIG, text);
    }
    if (command === 'STATUS' && socket !== undefined && isAwayBriefly(socket)) {
      return { stdout: '', stderr: '', exit: 0 };
    }
    const reason = cause instanceof Error ? cause.message : String(cause);
    const code = command === 'STATUS' ? CODE.NOT_READY : CODE.TRY_AGAIN;
    throw new CniError(code, 'the flatnet agent of this node is not available', reason);
  } catch (error) {
    return printed(errorObject(error, versionOf(stdin)), 1);
  }
}

function printed(value: unknown, exit: number): AloneReply {
  return { stdout: `${JSON.stringify(value)}\n`, stderr: '', exit };
}
