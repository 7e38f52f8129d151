import { joining } from './joining.ts';
import { startEmbedded } from './servers.ts';

joining('the embedded server', () => startEmbedded());
