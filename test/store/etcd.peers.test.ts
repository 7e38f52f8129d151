import { conformance } from './conformance.ts';
import { NO_ETCD, startEtcd } from './servers.ts';

conformance('etcd', () => startEtcd(), NO_ETCD);
