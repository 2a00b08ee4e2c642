package compat;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

import static compat.MqAdminCase.Stage.ALONE;
import static compat.MqAdminCase.Stage.FIRST;
import static compat.MqAdminCase.Stage.LAST;
import static compat.MqAdminCase.changes;
import static compat.MqAdminCase.looks;

/** Every subcommand of mqadmin, how it is tried, and why some are not: see {@link MqAdminConformanceTest}. */
final class MqAdminCases {
    /** Values of the configuration that belong to the machine or the run. */
    private static final String MACHINE_VALUES = "(?m)^(brokerIP\\d|bindAddress|rocketmqHome|storePath\\w*|\\w*Path|listenPort"
        + "|haListenPort|namesrvAddr|\\w*(?i:threads?|threadnums|poolNums)\\w*) ?= ?.*$";

    /** Keys that only our broker has. */
    private static final String OWN_KEYS = "^(duplicateSendWindowMs|maxConnectionBufferBytes) ?=";

    static final List<MqAdminCase> ALL = List.of(
        // What changes with every topic is looked at first.
        looks(FIRST, "topicList", "", "-c").sorted(),
        looks(FIRST, "brokerStatus", "-b {a}", "-c AdminCluster").mask("(?m)^(\\S+ )?([A-Za-z]+[\\w]*) :", "$2 :")
            .mask("(?m)^(runtime|putMessageDistributeTime|commitLogDirCapacity|remainHowManyDataToFlush) : .+$", "$1 : {text}")
            .mask("(?m)^(\\w+Tps) : .+$", "$1 : {rates}")
            .mask("commitLogDiskRatio_\\S+.*", "commitLogDiskRatio_{path} : {figure}")
            .mask("(?m)^(dispatchBehindBytes|pageCacheLockTimeMills|\\w+TimeMax|putLatency\\d+|commitLogMaxOffset|bootTimestamp|\\w+HeadWaitTimeMills"
                + "|earliestMessageTimeStamp|\\w*DiskRatio\\S*|putMessageSizeTotal|putMessageTimesTotal|putMessageAverageSize|msgGetTotalTodayNow"
                + "|msgPutTotalTodayNow) : [1-9{0.].*$", "$1 : {figure}").sorted(),
        looks(FIRST, "clusterList", "", "-m", "-c AdminCluster", "-c Nowhere").decimals().mask("\\(.*?\\)", "()").mask("(V5_5_0 ).*", "$1...")
            .mask("(AdminCluster admin-\\w) \\d.*", "$1 ...").sorted(),
        looks(FIRST, "exportMetrics", "-c AdminCluster -f {work}/metrics").files("metrics").decimals()
            .mask("(?m)^( *\"(?:cpuNum|messageAverageSize|totalMemKBytes)\":).*$", "$1{figure}"),

        looks("topicRoute", "-t Orders", "-l -t Shared", "-t Nowhere"),
        looks("topicStatus", "-t Orders", "-t Shared", "-t Nowhere").decimals().sorted(),
        looks("topicClusterList", "-t Orders", "-t Nowhere"),
        looks("queryMsgById", "-t Orders -i {offsetId}", "-t Orders -i {uniqueId} -f UTF-8", "-t Orders -i {offsetId} -g Online -d {client}",
            "-t Orders -i AC11000100002A9F0000000000FFFFFF").mask("spentTimeMills=\\d+", "spentTimeMills={ms}").sorted(),
        looks("queryMsgByKey", "-t Orders -k key-3", "-t Orders -k key-3 -m 1 -c AdminCluster", "-t Orders -k key-3 -p K",
            "-t Orders -k nothing").sorted(),
        looks("queryMsgByUniqueKey", "-t Orders -i {uniqueId}", "-t Orders -i {uniqueId} -a", "-t Orders -i {uniqueId} -g Online -d {client}",
            "-t Orders -i 0A000001000000000000000000000000").mask("spentTimeMills=\\d+", "spentTimeMills={ms}").sorted(),
        looks("queryMsgByOffset", "-t Orders -b admin-a -i 1 -o 1", "-t Orders -b admin-a -i 0 -o 99").sorted(),
        looks("queryMsgTraceById", "-i {tracedId}").mask("\\d+ms", "{ms}").mask("10\\.0\\.0\\.1\\S*", "{client}"),
        looks("printMsg", "-t Orders -d true", "-t Orders -s TagA -d true", "-t Orders -b 0 -e 1").sorted(),
        looks("printMsgByQueue", "-t Orders -a admin-a -i 0 -p true -d true -f true", "-t Orders -a admin-a -i 1 -s TagB -f true",
            "-t Orders -a admin-a -i 1 -s TagB -p true").sorted(),
        looks("brokerConsumeStats", "-b {a}", "-b {a} -l 1", "-b {a} -o true").without("RMQ_SYS|TOOLS_CONSUMER").mask("0:00:\\d\\d.*", "{age}"),
        looks("producerConnection", "-g Writers -t Orders", "-g Nobody -t Orders"),
        looks("consumerConnection", "-g Online", "-g Online -b {a}", "-g Idle"),
        looks("consumerProgress", "-g Online", "-g Online -s true", "-g Idle", "-g Idle -t Orders", "").without("TOOLS_CONSUMER|__MONITOR|^%RETRY%").sorted()
            .decimals(),
        looks("consumerStatus", "-g Online -i {client}", "-g Online", "-g Idle").without("^%RETRY%").decimals()
            .mask("(?m)^(PROP_\\w+|consumeTimestamp|clientCallbackExecutorThreads|concurrentHeartbeatThreadPoolSize|messageListener|log) :.*$", "$1 : {value}"),
        looks("producer", "-b {a}").mask("lastUpdateTimestamp=\\S+", "lastUpdateTimestamp={ms}").only("\\((Writers|Traced)\\)").sorted(),
        looks("getNamesrvConfig", "").mask(MACHINE_VALUES, "$1 = {machine}").sorted(),
        looks("getBrokerConfig", "-b {a}", "-c AdminCluster", "-b 127.0.0.1:1").without(OWN_KEYS).mask(MACHINE_VALUES, "$1 = {machine}").sorted(),
        looks("getConsumerConfig", "-g Idle", "-g Nobody"),
        looks("queryCq", "-t Orders -q 0 -i 0 -c 3", "-t Orders -q 1 -i 1 -c 2 -b {a} -g Online", "-t Orders -q 0 -i 0 -c 1 -g Idle",
            "-t Orders -q 7 -i 0 -c 1"),
        looks("allocateMQ", "-t Orders -i 10.0.0.1,10.0.0.2", "-t Nowhere -i 10.0.0.1"),
        looks("statsAll", "-t Orders", "-a -t Orders").decimals().sorted(),
        looks("consumeMessage", "-t Orders", "-t Orders -b admin-a -i 1 -o 1 -c 2", "-t Orders -b admin-a -i 0 -s 0 -e 1",
            "-t Nowhere").sorted(),
        looks("haStatus", "-b {a}").mask("(CommitLogMaxOffset|Offset)(.*?)\\d+", "$1$2{figure}"),
        looks("exportMetadata", "-c AdminCluster -f {work}/metadata", "-b {a} -t -f {work}/metadata", "-b {a} -g -f {work}/metadata",
            "-c AdminCluster -t -s -f {work}/metadata/special").files("metadata").mask("(?m)^( *\"(?:counter|timestamp|exportTime)\":).*", "$1{figure}"),
        looks("exportConfigs", "-c AdminCluster -f {work}/configs").files("configs").mask("(?m)^(.*ThreadPool\\w*Nums.*?:).*$", "$1{machine}"),
        looks("exportMetadataInRocksDB", "-p {work}/nothing -t topics", "-p {work} -t offsets"),
        looks("dumpCompactionLog", "-f {work}/commitlog", "-f {work}", "").only("topic='Orders'|^!|miss"),
        looks("rocksDBConfigToJson", "-t topics -c AdminCluster", "-t subscriptionGroups;consumerOffsets -c AdminCluster", "-t nonsense -c AdminCluster").without("export done"),
        looks("checkRocksdbCqWriteProgress", "-c AdminCluster -t Orders", "-c Nowhere").sorted(),
        looks("getColdDataFlowCtrInfo", "-b {a}", "-c AdminCluster").sorted(),
        looks("getBrokerLiteInfo", "-b {a}", "-c AdminCluster -d").mask("( 0 0 0) \\d+ \\d+ 0", "$1 {figure} {figure} 0").sorted(),
        looks("getParentTopicInfo", "-p Orders", "-p Nowhere"),
        looks("getLiteTopicInfo", "-p Orders -l one", "-p Nowhere -l one"),
        looks("getLiteClientInfo", "-p Orders -g Online -c {client}"),
        looks("getLiteGroupInfo", "-p Orders -g Online", "-p Orders -g Online -l one"),
        // The reference makes the group that it is asked about, which exports of groups must not meet.
        looks(LAST, "triggerLiteDispatch", "-p Orders -g Online", "-p Orders -g Nobody"),

        changes("updateTopic",
            "updateTopic -b {a} -t Made -r 3 -w 2", "~ topicRoute -t Made -l",
            "updateTopic -c AdminCluster -t Made -r 5 -w 5 -p 4 -a +message.type=FIFO", "~ topicRoute -t Made -l",
            "updateTopic -b {a} -t Made -r 5 -w 5 -a +message.type=NORMAL",
            "updateTopic -b {a} -t Made -r 5 -w 5 -a -message.type",
            "updateTopic -b {a} -t Made -r 5 -w 5 -a +no.such=1",
            "updateTopic -c AdminCluster -t Ordered -o true -r 2 -w 2",
            "updateTopic -b {a} -t Unit -u true -s true",
            "updateTopic -b {a} -t bad!name", "updateTopic -b {a} -t SCHEDULE_TOPIC_XXXX", "updateTopic -c Nowhere -t Made").sorted(),
        changes("updateTopicList",
            "updateTopicList -b {a} -f {work}/topics.json", "~ topicRoute -t ListA -l", "~ topicRoute -t ListB -l",
            "updateTopicList -c AdminCluster -f {work}/topics.json").sorted(),
        changes("deleteTopic",
            "updateTopic -c AdminCluster -t Doomed", "~ topicRoute -t Doomed -l", "deleteTopic -c AdminCluster -t Doomed",
            "~ topicRoute -t Doomed", "deleteTopic -c AdminCluster -t Never", "deleteTopic -c Nowhere -t Never").sorted(),
        changes("updateSubGroup",
            "updateSubGroup -b {a} -g MadeGroup -r 3 -q 2 -m true -d false -o true -i 0 -w 1 -a false -s true",
            "~ getConsumerConfig -g MadeGroup",
            "updateSubGroup -c AdminCluster -g MadeGroup -p {\"type\":\"EXPONENTIAL\",\"exponentialRetryPolicy\":{\"initial\":1000,\"max\":60000,\"multiplier\":3}}",
            "updateSubGroup -b {a} -g MadeGroup --attributes +priority.factor=1",
            "~ getConsumerConfig -g MadeGroup",
            "updateSubGroup -b {a} -g bad!group").sorted(),
        changes("updateSubGroupList",
            "updateSubGroupList -b {a} -f {work}/groups.json", "~ getConsumerConfig -g ListGroupA",
            "updateSubGroupList -c AdminCluster -f {work}/groups.json").sorted(),
        changes("deleteSubGroup",
            "updateSubGroup -c AdminCluster -g DoomedGroup", "deleteSubGroup -b {a} -g DoomedGroup",
            "deleteSubGroup -c AdminCluster -g DoomedGroup -r true", "~ getConsumerConfig -g DoomedGroup",
            "deleteSubGroup -b {a} -g NeverGroup").sorted(),
        changes("setConsumeMode",
            "updateTopic -c AdminCluster -t Popped", "~ topicRoute -t Popped -l", "updateSubGroup -c AdminCluster -g Popper",
            "setConsumeMode -b {a} -t Popped -g Popper -m POP -q 2", "setConsumeMode -c AdminCluster -t Popped -g Popper -m PULL",
            "setConsumeMode -b {a} -t Nowhere -g Popper -m POP", "setConsumeMode -b {a} -t Popped -g NoGroup -m POP").sorted(),
        changes("updateTopicPerm",
            "updateTopic -c AdminCluster -t Permitted", "~ topicRoute -t Permitted -l",
            "updateTopicPerm -b {a} -t Permitted -p 4", "~ topicRoute -t Permitted -l",
            "updateTopicPerm -c AdminCluster -t Permitted -p 2", "~ topicRoute -t Permitted -l",
            "updateTopicPerm -c AdminCluster -t Permitted -p 2", "updateTopicPerm -c AdminCluster -t Nowhere -p 2").sorted(),
        changes("updateBrokerConfig",
            "updateBrokerConfig -b {b} -k fileReservedTime -v 71", "~ getBrokerConfig -b {b}",
            "updateBrokerConfig -c AdminCluster -k waitTimeMillsInSendQueue -v 250", "~ getBrokerConfig -b {b}",
            "updateBrokerConfig -b {b} -k brokerConfigPath -v /tmp/other").only("success|!|fileReservedTime|waitTimeMillsInSendQueue").sorted(),
        changes("updateKvConfig", "updateKvConfig -s SPACE -k key -v value"),
        changes("deleteKvConfig", "updateKvConfig -s SPACE2 -k key -v value", "deleteKvConfig -s SPACE2 -k key", "deleteKvConfig -s SPACE2 -k never"),
        changes("updateOrderConf",
            "updateOrderConf -t Kept -m put -v admin-a:2;admin-b:4", "updateOrderConf -t Kept -m get", "updateOrderConf -t Kept -m delete",
            "updateOrderConf -t Kept -m get"),
        changes("resetOffsetByTime",
            "updateSubGroup -b {a} -g Resetter", "~ topicStatus -t Reset",
            "resetOffsetByTime -g Resetter -t Reset -s now", "resetOffsetByTime -g Resetter -t Reset -s 0",
            "resetOffsetByTime -g Resetter -t Reset -s -1 -b {a} -q 0 -o 1", "resetOffsetByTime -g NoSuch -t Reset -s 0",
            "resetOffsetByTime -g Resetter -t Nowhere -s 0").decimals().sorted(),
        changes("skipAccumulatedMessage",
            "updateSubGroup -b {a} -g Skipper", "skipAccumulatedMessage -g Skipper -t Reset", "~ brokerConsumeStats -b {a}",
            "skipAccumulatedMessage -g NoSuch -t Reset").only("skip|^!|^admin|^#|Skipper|create").sorted(),
        changes("cloneGroupOffset",
            "updateSubGroup -b {a} -g Clone", "cloneGroupOffset -s Idle -d Clone -t Orders", "~ topicRoute -t %RETRY%Idle",
            "cloneGroupOffset -s Online -d Clone -t Orders", "~ brokerConsumeStats -b {a}").only("clone|^!|Clone").sorted(),
        changes("sendMessage",
            "updateTopic -b {a} -t Sent -r 2 -w 2", "~ topicRoute -t Sent -l", "sendMessage -t Sent -p body -k key -c tag -b admin-a -i 1",
            "~ printMsg -t Sent -d true", "sendMessage -t Sent -p body -b admin-a -i 9", "sendMessage -t Sent -p body -m true -b admin-a -i 0").sorted(),
        changes("checkMsgSendRT",
            "updateTopic -b {a} -t Timed -r 2 -w 2", "~ topicRoute -t Timed -l", "checkMsgSendRT -t Timed -a 4 -s 16",
            "checkMsgSendRT -t TBW102 -a 1").decimals().mask("(true|false) \\d+", "$1 {ms}"),
        changes("sendMsgStatus", "sendMsgStatus -b admin-a -c 3 -s 16").mask("rt=\\d+ms", "rt={ms}").mask("queueOffset=\\d+", "queueOffset={offset}")
            .mask("rt:\\d+", "rt:{ms}"),
        changes("clusterRT", "clusterRT -c AdminCluster -a 3 -s 16 -i 60").endless(3).decimals().mask("NaN", "{decimal}").sorted(),
        changes("cleanExpiredCQ", "cleanExpiredCQ -b {a}", "cleanExpiredCQ -c AdminCluster", "cleanExpiredCQ"),
        changes("deleteExpiredCommitLog", "deleteExpiredCommitLog -b {a}", "deleteExpiredCommitLog -c AdminCluster"),
        changes("cleanUnusedTopic", "cleanUnusedTopic -b {a}", "cleanUnusedTopic -c AdminCluster", "topicStatus -t Orders").decimals().sorted(),
        changes("updateNamesrvConfig",
            "updateNamesrvConfig -k enableTopicList -v true", "~ getNamesrvConfig", "updateNamesrvConfig -k kvConfigPath -v /tmp/other")
            .only("enableTopicList|update|!"),
        changes("updateColdDataFlowCtrGroupConfig", "updateColdDataFlowCtrGroupConfig -b {a} -g Cold -v 1000",
            "updateColdDataFlowCtrGroupConfig -c AdminCluster -g Cold -v 1000").sorted(),
        changes("removeColdDataFlowCtrGroupConfig", "removeColdDataFlowCtrGroupConfig -b {a} -g ColdToo",
            "removeColdDataFlowCtrGroupConfig -c AdminCluster -g ColdToo").sorted(),
        changes("setCommitLogReadAheadMode", "setCommitLogReadAheadMode -b {a} -m 1", "setCommitLogReadAheadMode -c AdminCluster -m 0",
            "setCommitLogReadAheadMode -b {a} -m 7").sorted(),
        changes("switchTimerEngine", "switchTimerEngine -b {a} -e F", "switchTimerEngine -b {a} -e R", "switchTimerEngine -b {a} -e X"),
        changes("exportPopRecord", "exportPopRecord -b {a}", "exportPopRecord -c AdminCluster -d false").sorted(),
        changes("resetMasterFlushOffset", "resetMasterFlushOffset -b {a} -o 0"),
        changes("startMonitoring", "startMonitoring", "~ consumerConnection -g __MONITOR_CONSUMER").mask("(?m)^\\S+ (\\{port} JAVA)", "{client} $1"),

        // What touches every topic of a broker, and what other commands cannot read on the Java servers.
        changes(ALONE, "wipeWritePerm", "wipeWritePerm -b admin-b", "~ topicRoute -t Shared -l", "wipeWritePerm -b nobody")
            .mask("OK, [1-9]\\d*", "OK, {count}").sorted(),
        changes(LAST, "addWritePerm", "addWritePerm -b admin-b", "~ topicRoute -t Shared -l", "addWritePerm -b nobody")
            .mask("OK, [1-9]\\d*", "OK, {count}").sorted(),
        changes(LAST, "updateStaticTopic",
            "updateStaticTopic -t Static -b admin-a -qn 4", "~ topicRoute -t Static",
            "updateStaticTopic -t Static -b admin-a,admin-b -qn 6", "~ topicRoute -t Static", "~ topicStatus -t Static").decimals()
            .mask("(written to file ).*", "$1{path}"),
        changes(LAST, "remappingStaticTopic",
            "updateStaticTopic -t Moved -b admin-a -qn 2", "~ topicRoute -t Moved",
            "sendMessage -t Moved -p one -b __syslo__global__ -i 0", "~ topicStatus -t Moved",
            "remappingStaticTopic -t Moved -b admin-b", "~ topicRoute -t Moved",
            "sendMessage -t Moved -p two -b __syslo__global__ -i 0", "~ topicStatus -t Moved").decimals()
            .mask("(written to file ).*", "$1{path}"));

    /** Of those of {@link #APART}, how they are refused by a broker without the role, ours or the reference's. */
    static final List<MqAdminCase> REFUSED = List.of(
        looks("getBrokerEpoch", "-b admin-a", "-c AdminCluster"),
        looks("getSyncStateSet", "-a {a} -b admin-a", "-a {a} -c AdminCluster"),
        looks("getControllerMetaData", "-a {a}"),
        looks("getControllerConfig", "-a {a}"),
        changes("updateControllerConfig", "updateControllerConfig -a {a} -k key -v value"),
        changes("cleanBrokerMetadata", "cleanBrokerMetadata -a {a} -bn admin-a -c AdminCluster"),
        changes("addBroker", "addBroker -c {a} -b {work}/none.conf"),
        changes("removeBroker", "removeBroker -c {a} -b AdminCluster:admin-z:1"));

    /** Subcommands for a role that our servers do not have; not counted. */
    static final Map<String, String> APART = new LinkedHashMap<>();

    static {
        apart("needs a broker container", "addBroker", "removeBroker");
        apart("needs a controller", "getSyncStateSet", "getBrokerEpoch", "getControllerMetaData", "getControllerConfig",
            "updateControllerConfig", "electMaster", "cleanBrokerMetadata");
        apart("needs authentication", "createUser", "updateUser", "deleteUser", "getUser", "listUser", "copyUser", "createAcl", "updateAcl",
            "deleteAcl", "getAcl", "listAcl", "copyAcl");
    }

    private MqAdminCases() {
    }

    private static void apart(String reason, String... names) {
        for (String name : names) {
            APART.put(name, reason);
        }
    }
}
