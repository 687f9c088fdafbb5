//! Somebody who asks over HTTP, on one connection that is kept.

use std::net::SocketAddr;

use rules::id::{MachineId, OperationId};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

use super::run::Way;

/// A connection to the API, and what stands in every request.
pub(super) struct Caller {
    stream: BufStream<TcpStream>,
    head: String,
    tenant: String,
}

impl Caller {
    /// Connects, as whoever bears this token, on behalf of a tenant.
    pub(super) async fn connect(to: SocketAddr, headers: &[(&str, String)], tenant: &str) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut head =
            "POST /graphql HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n".to_owned();
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        Self { stream: BufStream::new(stream), head, tenant: tenant.to_owned() }
    }

    /// Switches machines on or off by one document, each by a field of its own; returns their operations, in order.
    pub(super) async fn switch(&mut self, machines: &[MachineId], on: bool) -> Vec<OperationId> {
        let field = if on { "powerOn" } else { "forcePowerOff" };
        let (mut named, mut asked, mut variables) =
            (String::new(), String::new(), json!({ "t": self.tenant }));
        for (number, machine) in machines.iter().enumerate() {
            named += &format!(", $m{number}: ID!");
            asked += &format!(" a{number}: {field}(tenant: $t, id: $m{number}) {{ operation {{ id }} }}");
            variables[format!("m{number}")] = json!(machine.0);
        }
        let query = format!("mutation($t: ID!{named}) {{{asked} }}");
        let told = self.post(&json!({ "query": query, "variables": variables })).await;
        assert!(told.get("errors").is_none(), "{told}");
        let id = |number: usize| {
            told["data"][format!("a{number}")]["operation"]["id"].as_str().unwrap().to_owned()
        };
        (0..machines.len()).map(|number| OperationId(id(number).parse().unwrap())).collect()
    }

    /// Switches machines on or off in one of the ways.
    pub(super) async fn switch_by(&mut self, way: Way, machines: &[MachineId], on: bool) -> Vec<OperationId> {
        match way {
            Way::Fields(_) => self.switch(machines, on).await,
            Way::Listed(_) => self.switch_listed(machines, on).await,
        }
    }

    /// Switches machines on or off by one mutation of them all; returns their operations, in order.
    async fn switch_listed(&mut self, machines: &[MachineId], on: bool) -> Vec<OperationId> {
        const QUERY: &str = "mutation($t: ID!, $ids: [ID!]!, $o: PowerOperation!) {
            powerMachines(tenant: $t, ids: $ids, operation: $o) { code operation { id } } }";
        let ids: Vec<_> = machines.iter().map(|machine| machine.0).collect();
        let operation = if on { "POWER_ON" } else { "FORCE_POWER_OFF" };
        let variables = json!({ "t": self.tenant, "ids": ids, "o": operation });
        let told = self.post(&json!({ "query": QUERY, "variables": variables })).await;
        assert!(told.get("errors").is_none(), "{told}");
        let each = told["data"]["powerMachines"].as_array().unwrap();
        assert_eq!(each.len(), machines.len());
        let id = |one: &Value| one["operation"]["id"].as_str().unwrap_or_else(|| panic!("{one}")).to_owned();
        each.iter().map(|one| OperationId(id(one).parse().unwrap())).collect()
    }

    async fn post(&mut self, body: &Value) -> Value {
        let body = body.to_string();
        let request = format!("{}content-length: {}\r\n\r\n{body}", self.head, body.len());
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
        let (mut length, mut line) = (None, String::new());
        loop {
            line.clear();
            assert!(self.stream.read_line(&mut line).await.unwrap() > 0, "the API hung up");
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                if line.trim_end().is_empty() {
                    break;
                }
                assert!(line.contains(" 200 "), "{line}");
                continue;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse::<usize>().ok();
            }
        }
        let mut answer = vec![0; length.unwrap()];
        self.stream.read_exact(&mut answer).await.unwrap();
        serde_json::from_slice(&answer).unwrap()
    }
}
