import type { Sessions } from '../../companion.ts';
import type { BgpStatus, SessionStatus } from './status.ts';

/** Counts the sessions that are established, and describes the others. */
export function sessionsIn({ sessions }: Pick<BgpStatus, 'sessions'>): Sessions {
  const missing = sessions.filter((each) => !isEstablished(each));
  return {
    established: sessions.length - missing.length,
    expected: sessions.length,
    missing: missing.map(({ node, address, info, state }) =>
      [node && `${node},`, `${address}:`, info || state].filter(Boolean).join(' '),
    ),
  };
}

export function isEstablished({ state, info }: Pick<SessionStatus, 'state' | 'info'>): boolean {
  return state === 'up' && info.startsWith('Established');
}
