//! What watches an installation: Grafana's dashboards, Prometheus' rules, and the pages they lead to.
//!
//! `expression` reads PromQL as far as the laws need, `board` reads the dashboards; `panels`, `rules` and
//! `runbook` are the laws; `promtool` asks Prometheus' own tool.

mod board;
mod expression;
mod panels;
mod promtool;
mod rules;
mod runbook;
