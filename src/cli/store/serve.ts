import { flushCompileCache } from 'node:module';
import { Option } from 'commander';
import { LOG_LEVELS } from '../../agent/options.ts';
import { serveEmbedded } from '../../store/embedded/serve.ts';
import { newCommand } from '../shared/commands.ts';
import { processLog, stopSignal } from '../shared/daemon.ts';

export const command = newCommand(
  'Serve the embedded store, etcd’s v3 JSON API over one SQLite file, until SIGTERM or SIGINT.',
  [
    'flatnet store serve --listen unix:/run/flatnet/store.sock --data /var/lib/flatnet/store.db',
    'flatnet store serve --listen http://127.0.0.1:2379 --data ./store.db',
  ],
)
  .requiredOption('--listen <address>', 'unix:/path, or http://address:port')
  .requiredOption('--data <file>', 'the SQLite file, created if missing')
  .addOption(
    new Option('--log-level <level>', 'the least severe level to log').choices(LOG_LEVELS).default('info'),
  )
  .action(async (options: { listen: string; data: string; logLevel: string }) => {
    const log = processLog(options.logLevel);
    const server = await serveEmbedded({
      listen: options.listen,
      file: options.data,
      log,
      signal: stopSignal(),
    });
    // Node does so only at an orderly exit, and the start after a crash should be as fast.
    flushCompileCache();
    await server.closed;
  });
