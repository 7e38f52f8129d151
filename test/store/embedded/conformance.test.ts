import { conformance } from '../kv/conformance.ts';
import { startEmbedded } from '../servers.ts';

conformance('the embedded server', () => startEmbedded());
