import { startEmbedded } from '../servers.ts';
import { joining } from './joining.ts';

joining('the embedded server', () => startEmbedded());
