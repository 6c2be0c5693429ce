//! What crosses services, on a whole district: stories through the gateway, crashes of real processes, traces and files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod consents_at_once;
mod crash_points;
mod product_files;
mod records_killed;
mod reference_files;
mod settlement_crashes;
mod story_gongshu_g2;
mod story_gongshu_g5;
mod story_gongshu_g8;
mod story_jiangshan_j1;
mod story_jiangshan_j3;
mod story_jiangshan_j4;
mod story_jiashan_a5;
mod story_jiashan_a7;
mod story_jiashan_a8;
mod story_liandu;
mod story_liandu_bad_input;
mod story_liandu_l2;
mod story_liandu_l3;
mod story_liandu_l5;
mod story_liandu_l8;
mod story_liandu_l9;
mod story_pujiang_p1;
mod story_pujiang_p3;
mod story_pujiang_p4;
mod story_pujiang_p5;
mod story_pujiang_p6;
mod telemetry;
