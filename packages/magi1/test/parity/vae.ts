import { tf } from '@atelier/tensor';
import { expectClose, type GoldenFile } from '@atelier/testkit';
import { decodeVideo, encodeImage, encodeVideo, latentKl, vaeConfig, vaeFromStateDict } from '../../src/index.ts';
import { json, official, video } from './layout.ts';

type Official = Record<string, number>;

export function vaes(file: GoldenFile): number {
  const d = json<Official>(file, 'ddconfig');
  const config = vaeConfig.parse({
    videoSize: d['video_size'],
    videoLength: d['video_length'],
    patchSize: d['patch_size'],
    patchLength: d['patch_length'],
    channels: d['in_chans'],
    latentChannels: d['z_chans'],
    width: d['embed_dim'],
    depth: d['depth'],
    heads: d['num_heads'],
    mlpRatio: d['mlp_ratio'],
  });
  const weights = { ...prefixed(file, 'encoder.'), ...prefixed(file, 'decoder.') };
  const params = vaeFromStateDict(weights, config);
  const cases = file.keys().flatMap((key) => (key.endsWith('.video') ? [key.slice(0, -'.video'.length)] : []));
  for (const name of cases) {
    const x = video(file.tensor(`${name}.video`));
    if (file.has(`${name}.z_first`)) {
      const [B, , H, W, C] = x.shape as [number, number, number, number, number];
      expectClose(official(encodeImage(params, tf.reshape(x, [B, H, W, C]), config)), file.host(`${name}.z_first`), { abs: 1e-4 });
      continue;
    }
    const moments = encodeVideo(params, x, config);
    const joined = official(tf.concat([moments.mean, moments.logVariance], 4));
    expectClose(joined, file.host(`${name}.moments`), { abs: 1e-4 }, `${name}: moments`);
    expectClose(official(moments.mean), file.host(`${name}.z_mode`), { abs: 1e-4 }, `${name}: mean`);
    expectClose(official(decodeVideo(params, moments.mean, config)), file.host(`${name}.recon`), { abs: 1e-4 }, `${name}: reconstruction`);
    expectClose(latentKl(moments), file.host(`${name}.kl`), { rel: 1e-4 }, `${name}: KL`);
  }
  return cases.length;
}

const prefixed = (file: GoldenFile, prefix: string) =>
  Object.fromEntries(Object.entries(file.tensors(prefix)).map(([name, host]) => [prefix + name, host]));
