import { paritySuite } from '@atelier/testkit/vitest';
import { ganTerms, sidaDiscriminator, sidaGenerator } from './parity/adversarial.ts';
import { edmFake, edmGenerator, edmNaN, edmSigma, edmTraining, edmUNet } from './parity/edm.ts';
import { flowFewStep } from './parity/flow.ts';
import { gaussianAnalytic } from './parity/gaussian.ts';
import { sdFake, sdGenerator, sdGuidance, sdMixture, sdRollout, sdSchedule } from './parity/stable-diffusion.ts';

const slow = 'gradients through three U-Nets';

paritySuite('sid', {
  edm_sigma: edmSigma,
  edm_gen_mlp: edmGenerator,
  edm_fake_mlp: edmFake,
  edm_nan_mask: edmNaN,
  edm_train_steps_mlp: edmTraining,
  edm_gen_unet: { check: edmUNet, slow },
  sida_gen_unet: { check: sidaGenerator, slow },
  sida_disc_unet: { check: sidaDiscriminator, slow },
  gan_terms: ganTerms,
  sd_schedule: sdSchedule,
  sd_denoise_guidance: sdGuidance,
  sd_fake_loss: sdFake,
  sd_gen_loss: sdGenerator,
  sd_rollout: sdRollout,
  sd_fewstep_mixture: sdMixture,
  flow_fewstep: flowFewStep,
  gaussian_analytic: gaussianAnalytic,
});
