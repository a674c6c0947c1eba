import { StopError } from '../runner/errors.ts';

/** Files below a prefix of a bucket of S3-compatible storage. */
export interface Bucket {
  /** The keys that begin with `start`, whole. */
  readonly list: (start: string) => Promise<string[]>;
  readonly get: (key: string) => Promise<Uint8Array>;
  readonly put: (key: string, bytes: Uint8Array) => Promise<void>;
}

/**
 * `s3://bucket/prefix`. The environment says where and who: AWS_ENDPOINT_URL (Amazon's if absent), AWS_REGION (us-east-1), AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where there is one,
 * AWS_SESSION_TOKEN.
 *
 * @throws StopError for another address or an incomplete environment; later for each request that the storage refuses
 */
export async function openBucket(address: string, environment: NodeJS.ProcessEnv = process.env): Promise<Bucket> {
  const [, name, prefix = ''] = /^s3:\/\/([a-z0-9][a-z0-9.-]{2,62})(?:\/([\w./-]*))?$/.exec(address) ?? [];
  if (name === undefined) throw new StopError(`--store: wanted s3://bucket/prefix, got '${address}'`);
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_SESSION_TOKEN: sessionToken } = environment;
  if (!accessKeyId || !secretAccessKey)
    throw new StopError('--store: wanted AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, got none');
  const region = environment['AWS_REGION'] ?? 'us-east-1';
  const base = `${endpointOf(environment['AWS_ENDPOINT_URL'] ?? `https://s3.${region}.amazonaws.com`)}/${name}`;
  const { AwsClient } = await import('aws4fetch');
  const client = new AwsClient({ accessKeyId, secretAccessKey, region, service: 's3', retries: 4, ...(sessionToken && { sessionToken }) });

  const ask = async (method: 'GET' | 'PUT', url: string, body?: Uint8Array<ArrayBuffer>): Promise<Uint8Array> => {
    try {
      const answer = await client.fetch(url, { method, ...(body && { body }) });
      if (!answer.ok) throw new Error(`the answer is ${answer.status} ${answer.statusText}`);
      return new Uint8Array(await answer.arrayBuffer());
    } catch (error) {
      const { message } = (error instanceof Error && error.cause instanceof Error ? error.cause : error) as Error;
      throw new StopError(`--store: ${method} ${url.split('?')[0]}: ${message}`, { cause: error });
    }
  };
  const top = prefix.replace(/^\/+|\/+$/g, '');
  const whole = (key: string): string => (top === '' ? key : `${top}/${key}`);
  const urlOf = (key: string): string => `${base}/${whole(key).split('/').map(encodeURIComponent).join('/')}`;
  return {
    get: (key) => ask('GET', urlOf(key)),
    put: async (key, bytes) => void (await ask('PUT', urlOf(key), new Uint8Array(bytes))),
    async list(start) {
      const keys: string[] = [];
      let token = '';
      do {
        const query = new URLSearchParams({ 'list-type': '2', prefix: whole(start), ...(token && { 'continuation-token': token }) });
        const text = new TextDecoder().decode(await ask('GET', `${base}?${query}`));
        for (const [, key] of text.matchAll(/<Key>([^<]*)<\/Key>/g)) keys.push(unescapeXml(key!).slice(whole('').length));
        token = unescapeXml(/<NextContinuationToken>([^<]*)</.exec(text)?.[1] ?? '');
      } while (token !== '');
      return keys;
    },
  };
}

/** An address that can be printed in an error: without user and password. */
function endpointOf(text: string): string {
  if (/^https?:\/\/[\w.:[\]-]+\/*$/.test(text)) return text.replace(/\/+$/, '');
  throw new StopError(`--store: wanted AWS_ENDPOINT_URL to be https://host or http://host:port, got '${text.replace(/^.*@/s, '…@')}'`);
}

const unescapeXml = (text: string): string =>
  text.replace(/&(amp|lt|gt|quot|apos);/g, (_, name: string) => ({ amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" })[name]!);
