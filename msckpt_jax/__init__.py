from msckpt_jax.checkpoint.save import save_checkpoint
