import { type Command, Option } from 'commander';
import { serveEmbedded } from '../store/embedded/serve.ts';
import { processLog, stopSignal } from './daemon.ts';

/** `flatnet store serve`: the embedded store, for a lab or a cluster of one machine, until SIGTERM or SIGINT. */
export function addStoreCommand(program: Command): void {
  const store = program.command('store').description('the embedded store: etcd’s v3 JSON API over one file');
  store
    .command('serve')
    .description('serve until SIGTERM or SIGINT')
    .requiredOption('--listen <address>', 'unix:/path (only root may connect) or http://address:port')
    .requiredOption('--data <file>', 'the SQLite file, made when missing')
    .addOption(new Option('--log-level <level>').choices(['debug', 'info', 'warn', 'error']).default('info'))
    .action(async ({ listen, data, logLevel }: { listen: string; data: string; logLevel: string }) => {
      const log = processLog(logLevel);
      const server = await serveEmbedded({ listen, file: data, log, signal: stopSignal() });
      log.info({ endpoint: server.endpoint, data }, 'store serves');
      await server.closed;
    });
}
