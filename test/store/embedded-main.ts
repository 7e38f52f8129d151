// The embedded server as a process, for tests that kill it: embedded-main.ts LISTEN FILE
import { SILENT } from '../../src/log.ts';
import { serveEmbedded } from '../../src/store/embedded/serve.ts';

const [listen = '', file = ''] = process.argv.slice(2);
await serveEmbedded({ listen, file, log: SILENT });
