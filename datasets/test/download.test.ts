import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { fetchPinned, md5, resolvePlaces } from '../src/download.ts';
import { temporaryFolder } from './folder.ts';
import { serve } from './server.ts';

const BODY = new TextEncoder().encode('abc');
/** From RFC 1321, appendix A.5. */
const DIGEST = '900150983cd24fb0d6963f7d28e17f72';

describe('fetchPinned', () => {
  it('downloads once, into a folder it makes, and leaves no other file', async () => {
    const folder = join(temporaryFolder(), 'deep', 'er');
    const server = await serve(() => ({ status: 200, body: BODY }));
    const path = join(folder, 'abc.bin');
    for (let k = 0; k < 2; k++) {
      const file = await fetchPinned(`${server.url}/abc`, DIGEST, path);
      expect(Buffer.from(file.bytes).toString()).toBe('abc');
      expect(file.where).toBe(path);
    }
    expect(server.requests).toEqual(['/abc']);
    expect(readdirSync(folder)).toEqual(['abc.bin']);
    expect(readFileSync(path, 'utf8')).toBe('abc');
  });

  it('keeps nothing of a download with a wrong checksum', async () => {
    const path = join(temporaryFolder(), 'abc.bin');
    const server = await serve(() => ({ status: 200, body: BODY.subarray(0, 2) }));
    await expect(fetchPinned(server.url, DIGEST, path)).rejects.toThrow(
      `download: wanted md5 ${DIGEST} from ${server.url}, got ${md5(BODY.subarray(0, 2))} (2 bytes)`,
    );
    expect(existsSync(path)).toBe(false);
  });

  it('refuses a cached file that has changed, and says what to do', async () => {
    const path = join(temporaryFolder(), 'abc.bin');
    writeFileSync(path, 'abd');
    await expect(fetchPinned('http://127.0.0.1:9/', DIGEST, path)).rejects.toThrow(`${path}: wanted md5 ${DIGEST}, got`);
    await expect(fetchPinned('http://127.0.0.1:9/', DIGEST, path)).rejects.toThrow('remove the file to download it again');
  });

  it('says which address failed and how', async () => {
    const path = join(temporaryFolder(), 'abc.bin');
    const server = await serve(() => ({ status: 403, body: BODY }));
    await expect(fetchPinned(server.url, DIGEST, path)).rejects.toThrow(`download: wanted ${server.url}, got status 403; set ATELIER_DATA`);
    await expect(fetchPinned('nonsense', DIGEST, path)).rejects.toThrow('download: wanted nonsense, got ');
    expect(existsSync(path)).toBe(false);
  });
});

describe('resolvePlaces', () => {
  it('takes arguments before the environment, and the home folder last', () => {
    const [data, other] = [temporaryFolder(), temporaryFolder()];
    vi.stubEnv('ATELIER_DATA', data);
    vi.stubEnv('ATELIER_CACHE', '/cache');
    expect(resolvePlaces({})).toEqual({ dataDir: data, cacheDir: '/cache' });
    expect(resolvePlaces({ dataDir: other, cacheDir: '/b' })).toEqual({ dataDir: other, cacheDir: '/b' });
    vi.stubEnv('ATELIER_DATA', '');
    vi.stubEnv('ATELIER_CACHE', '');
    expect(resolvePlaces({})).toEqual({ cacheDir: join(homedir(), '.cache', 'atelier') });
    vi.unstubAllEnvs();
  });

  it('refuses a folder of data that is none, instead of a download', () => {
    const folder = temporaryFolder();
    expect(() => resolvePlaces({ dataDir: join(folder, 'mnits') })).toThrow(
      /^data: wanted the folder of the data sets \(ATELIER_DATA\), got '.*mnits', which does not exist$/,
    );
    writeFileSync(join(folder, 'file'), '');
    vi.stubEnv('ATELIER_DATA', join(folder, 'file'));
    expect(() => resolvePlaces({})).toThrow("file', which is a file");
    vi.unstubAllEnvs();
  });
});
