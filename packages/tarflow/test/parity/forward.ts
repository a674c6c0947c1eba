import { parseConfig } from '@atelier/nn';
import { tf, toTensor, unflattenTree, type Tensor } from '@atelier/tensor';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import {
  conditioner,
  patchify,
  permute,
  tarflowConfig,
  tarflowForward,
  tokenContext,
  type TarFlow,
  type TarFlowConfig,
} from '../../src/index.ts';

export function loadModel(file: GoldenFile, all: Golden): { model: TarFlow; config: TarFlowConfig } {
  const weights = all.load(file.metadata['weights'] ?? file.name);
  const n = (key: string): number => Number(weights.setting(key));
  const config = parseConfig(
    tarflowConfig,
    {
      imageSize: n('img_size'),
      inChannels: n('in_channels'),
      patchSize: n('patch_size'),
      width: n('channels'),
      blocks: n('num_blocks'),
      layers: n('layers_per_block'),
      numClasses: n('num_classes'),
      headSize: n('head_dim'),
      expansion: n('expansion'),
      volumePreserving: weights.setting('nvp') === false,
    },
    file.name,
  );
  const model = unflattenTree(Object.fromEntries(Object.entries(weights.tensors()).map(([k, v]) => [k, toTensor(v)]))) as TarFlow;
  return { model, config };
}
const nhwc = (x: Tensor): Tensor => tf.transpose(x, [0, 2, 3, 1]);

export function forward(file: GoldenFile, all: Golden): number {
  const { model, config } = loadModel(file, all);
  const x = nhwc(file.tensor('x'));
  const y = file.has('y') ? file.tensor('y') : undefined;
  const out = tarflowForward(model, x, config, y);
  const close = { abs: 2e-5 };
  expectClose(out.z, file.host('z'), close, 'z');
  expectClose(out.logDet, file.host('logdets'), close, 'logdets');
  let input = patchify(x, config.patchSize);
  expectClose(input, file.host('patches'), {}, 'patches');
  out.blocks.forEach(({ z, logDet }, k) => {
    expectClose(z, file.host(`out.${k}`), close, `out.${k}`);
    expectClose(logDet, file.host(`logdet.${k}`), close, `logdet.${k}`);
    const raw = conditioner(model.blocks[k]!, permute(input, k), config, { context: tokenContext(model.blocks[k]!, k) });
    expectClose(raw.alpha, file.host(`raw_null_xa.${k}`), close, `raw_null_xa.${k}`);
    expectClose(raw.mu, file.host(`raw_null_xb.${k}`), close, `raw_null_xb.${k}`);
    input = z;
  });
  return file.keys().length;
}
