"""T-GRPO. Beside the paper (paper.md §2), read in this order:

    sharing     StepPlan: the questions of each step, and which process takes them
    questions   ask: a question on frames in order and on contrast frames
    rollout     roll_out: o_1 … o_G on ordered and G̃ responses on contrast frames
    served      ServedRollouts: the same from servers (server_pool, adapter_server), with each step's adapter
    grading     grade_group: their accuracy and format, each response once
    thought     conclusion_start: where a thought stops to note and starts to conclude; frames_named
    likelihood  Gains: Δ, how much likelier the ordered frames made a response
    temporal    MODES: how the order of frames enters a step; correct_share: p and p̃; token_weights: w_t
    rewards     temporal_rewards: r_t; length_rewards: ω; group_rewards: R_i
    gate        Gate: the questions whose order of frames does not matter
    advantages  temporal_advantages: A_i
    assessment  Assessor: from graded groups to rewards, advantages and token weights
    faithfulness  answers_change: whether an answer follows its thought
    scoring     pack, score: log π of every completion token under policy and reference
    mismatch    sampling_kl, importance_weights: the policy that sampled against the policy that is scored
    loss        policy_loss: importance_ratios, surrogate, kl_estimate, reduce_tokens
    trainer     TgrpoTrainer: get_batch_samples does all of the above but the loss, compute_loss the loss

Axes: B questions, G responses on ordered frames, K responses on contrast frames, R = B·G rows of the packed batch,
C completion tokens, L tokens of the packed row, V vocabulary.
"""
